"""The one place that knows asyncpg: connections, migrations, named queries."""
