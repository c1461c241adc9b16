"""What end-to-end tests share: commands, workers, servers, processes, a scripted proxy."""
