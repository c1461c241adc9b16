"""Fixtures for all tests."""

pytest_plugins = ["services.fixtures", "support.skips"]
