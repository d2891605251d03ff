"""The commands that people type: each calls the packages that do the work, and prints their results."""
