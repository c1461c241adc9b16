"""The real Conductor server and the real VictoriaMetrics, fetched and started for tests."""
