"""Sessions with PostgreSQL, migrations, named queries, batches of statements, conversion of values."""
