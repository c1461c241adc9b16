"""Fixtures for all tests."""

pytest_plugins = ["support.said", "services.fixtures", "support.skips"]
