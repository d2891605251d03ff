"""Connectors: their file, the HTTP client that asks them, and how their answers are classified."""
