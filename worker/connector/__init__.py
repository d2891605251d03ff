"""The connectors: their file, the one HTTP client, and what may be believed of an answer."""
