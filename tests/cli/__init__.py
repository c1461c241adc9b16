"""The command line as users see it: standard output, standard error, exit code."""
