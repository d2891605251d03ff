"""Makes the folder a package, so that its package-scoped fixtures end with its tests."""
