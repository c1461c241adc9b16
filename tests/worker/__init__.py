"""Workers end to end, against the embedded engine and against a real Conductor."""
