"""Breaking things on purpose: killed executors and supervisors, and metrics stores that are gone."""
