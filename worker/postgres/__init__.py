"""How sessions with PostgreSQL begin, migrations, named queries, and how our values stand in tables."""
