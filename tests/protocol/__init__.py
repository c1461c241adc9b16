"""One suite over the wire protocols, run against the embedded services and against the real ones."""
