"""Database roles: each can do its own work and nothing else."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.integration.ledger.harness import authorized, invoice
from tests.integration.login import login
from tests.integration.stream.deployment import StreamDeployment
from tests.until import until
from worker.delivery.handler import DeliveryHandler
from worker.kafka import names
from worker.ledger.handler import LedgerHandler
from worker.postgres.migrations import migrate, migrations
from worker.postgres.queries import Query, all_queries
from worker.settings import load
from worker.stack import StackEnv
from worker.stream.control import Control
from worker.stream.runner import Runner

ROLES = ("settlement_ledger", "settlement_delivery", "settlement_ops", "settlement_operator")
ROLES_MIGRATION = 7
WORKERS = {"ledger": "settlement_ledger", "delivery": "settlement_delivery"}


def roles_of(query: Query) -> list[tuple[str, str]]:
    """The schemas and roles under which a query is run."""
    package = query.file.split("/")[1]
    if query.file == "worker/ledger/checks.sql":
        return [("ledger", "settlement_ops")]  # the audit reads everything and changes nothing
    if package == "stream":
        return list(WORKERS.items())
    if package == "recovery":
        return []  # only the owner of the schema recovers a database
    return [(package, WORKERS[package])] if package in WORKERS else [("public", "settlement_operator")]


async def test_each_role_may_run_the_queries_of_its_package(database_url: str):
    refused = []
    connection = await asyncpg.connect(database_url)

    for query in all_queries():
        for schema, role in roles_of(query):
            await connection.execute(f"SET ROLE {role}; SET search_path = {schema}")
            try:  # EXPLAIN checks the rights without running the query
                await connection.execute(f"EXPLAIN (GENERIC_PLAN) {query.sql}")
            except asyncpg.InsufficientPrivilegeError as problem:
                refused.append(f"{role}: {query.file}: {query.name}: {problem}")

    await connection.close()
    assert refused == []


FORBIDDEN = [
    ("settlement_ledger", "SELECT FROM delivery.commands"),
    ("settlement_ledger", "INSERT INTO delivery.decisions (action) VALUES ('retry')"),
    ("settlement_ledger", "INSERT INTO people.acts (action) VALUES ('retry')"),
    ("settlement_ledger", "UPDATE ledger.entries SET amount = 1"),
    ("settlement_ledger", "DELETE FROM ledger.facts"),
    ("settlement_ledger", "TRUNCATE ledger.entries"),
    ("settlement_ledger", "TRUNCATE ledger.orders"),
    ("settlement_ledger", "UPDATE ledger.commands SET value = 1"),
    ("settlement_ledger", "ALTER TABLE ledger.entries DISABLE TRIGGER append_only"),
    ("settlement_ledger", "DROP TABLE ledger.entries"),
    ("settlement_ledger", "CREATE TABLE ledger.mine (x integer)"),
    ("settlement_ledger", "SET session_replication_role = replica"),
    ("settlement_ledger", "DELETE FROM public.settlement_migrations"),
    ("settlement_ledger", "SELECT public.settlement_grant()"),
    ("settlement_delivery", "SELECT FROM ledger.orders"),
    ("settlement_delivery", "SELECT FROM ledger.entries"),
    ("settlement_delivery", "DELETE FROM delivery.attempts"),
    ("settlement_ops", "UPDATE ledger.dead_letters SET status = 'open'"),
    ("settlement_ops", "INSERT INTO people.acts (action) VALUES ('retry')"),
    ("settlement_ops", "DELETE FROM ledger.orders"),
    ("settlement_operator", "UPDATE ledger.dead_letters SET value = NULL"),
    ("settlement_operator", "UPDATE delivery.commands SET state = 'succeeded'"),
    ("settlement_operator", "DELETE FROM people.acts"),
    ("settlement_operator", "INSERT INTO ledger.entries (chain) VALUES (1)"),
    ("settlement_operator", "UPDATE delivery.decisions SET reason = 'another'"),
]  # fmt: skip


async def test_statements_beyond_the_rights_of_a_role_are_refused(database_url: str):
    allowed = []
    connection = await asyncpg.connect(database_url)

    for role, statement in FORBIDDEN:
        await connection.execute(f"SET ROLE {role}")
        try:
            await connection.execute(statement)
            allowed.append((role, statement))
        except asyncpg.InsufficientPrivilegeError:
            pass

    await connection.close()
    assert allowed == []


async def test_the_read_only_role_can_read_every_table(database_url: str):
    connection = await asyncpg.connect(database_url)
    await connection.execute("SET ROLE settlement_ops")
    tables = await connection.fetch(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
        " WHERE schemaname IN ('ledger', 'delivery', 'people')"
    )

    for (table,) in tables:
        await connection.fetch(f"SELECT count(*) FROM {table}")

    assert len(tables) > 20
    await connection.close()


async def test_not_even_the_owner_can_rewrite_the_ledger(database_url: str):
    owner = await asyncpg.connect(database_url)
    assert await owner.fetchval("SELECT pg_has_role(current_user, relowner, 'USAGE') FROM pg_class"
                                " WHERE oid = 'ledger.entries'::regclass")  # fmt: skip

    for table in ("ledger.entries", "ledger.facts", "ledger.events", "people.acts"):
        for statement in (f"UPDATE {table} SET order_id = ''", f"DELETE FROM {table}", f"TRUNCATE {table}"):
            with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
                await owner.execute(statement)

    await owner.close()


async def test_tables_of_later_migrations_are_granted_to_the_roles(database_url: str):
    owner = await asyncpg.connect(database_url)
    await owner.execute("CREATE TABLE ledger.later (x integer)")

    rights = {
        (role, right): await owner.fetchval("SELECT has_table_privilege($1, 'ledger.later', $2)", role, right)
        for role in ROLES for right in ("SELECT", "INSERT")
    }  # fmt: skip

    assert rights == {
        ("settlement_ledger", "SELECT"): True, ("settlement_ledger", "INSERT"): True,
        ("settlement_delivery", "SELECT"): False, ("settlement_delivery", "INSERT"): False,
        ("settlement_ops", "SELECT"): True, ("settlement_ops", "INSERT"): False,
        ("settlement_operator", "SELECT"): True, ("settlement_operator", "INSERT"): False,
    }  # fmt: skip
    await owner.close()


async def test_both_workers_work_under_logins_that_have_only_their_roles(deployment: StreamDeployment):
    """An invoice is decided and sent; the connector is down, so the attempt is stored and retried."""
    async with (
        login(deployment.settings.database, "settlement_ledger") as ledger,
        login(deployment.settings.database, "settlement_delivery") as delivery,
    ):
        runners = []
        for handler, address in ((LedgerHandler, ledger), (DeliveryHandler, delivery)):
            settings = load(deployment.environment | {"DATABASE_URL": address})
            control = Control(settings)
            runners.append(Runner(handler(control), control))
        running = [asyncio.create_task(runner.run()) for runner in runners]
        for kind, data, topic in (
            ("order.authorized", authorized("o1"), names.ORDER_CHANGES),
            ("invoice.issued", invoice("o1", "1", 6000), names.INVOICES),
            ("invoice.issued", {"orderId": "o1"}, names.INVOICES),
        ):
            envelope = {"specversion": "1.0", "id": "x", "source": "/test", "type": kind, "data": data}
            await deployment.send("o1", json.dumps(envelope).encode(), topic=topic)

        await deployment.until(
            lambda: deployment.database.fetchval("SELECT ended_at FROM delivery.attempts LIMIT 1"),
            "an attempt with its end",
        )
        await deployment.until_quiet()
        assert await deployment.database.fetchval("SELECT count(*) FROM ledger.dead_letters") == 1
        for runner in runners:
            runner.stop()
        await asyncio.gather(*running)
        await runners[1].handler.close()
        assert await deployment.database.fetchval("SELECT count(*) FROM ledger.members") == 0, "both members left"


def create_role_block(name: str) -> str:
    """The statements of the migration that create the roles, for a role of this name."""
    sql = next(migration.sql for migration in migrations() if migration.number == ROLES_MIGRATION)
    return sql.split("CREATE FUNCTION")[0].replace("settlement_delivery", name)


@asynccontextmanager
async def databases(stack: StackEnv, number: int, owner: str | None = None) -> AsyncIterator[list[str]]:
    server = await asyncpg.connect(stack.database_url)
    created = [f"roles_{secrets.token_hex(5)}" for _ in range(number)]
    for name in created:
        await server.execute(f"CREATE DATABASE {name}" + (f" OWNER {owner}" if owner else ""))
    try:
        yield [urlsplit(stack.database_url)._replace(path=f"/{name}").geturl() for name in created]
    finally:
        for name in created:
            await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.close()


async def test_several_databases_of_one_server_can_be_migrated_concurrently(stack: StackEnv):
    async with databases(stack, 3) as urls:
        await asyncio.gather(*(migrate(url) for url in urls for _ in range(2)))

        for url in urls:
            connection = await asyncpg.connect(url)
            assert await connection.fetchval("SELECT has_table_privilege('settlement_ops', 'ledger.entries', 'SELECT')")
            await connection.close()


async def test_concurrent_migrations_of_two_databases_create_a_role_once(stack: StackEnv):
    """The second of two migrations that create the same missing role waits for the first and raises nothing."""
    name = f"role_{secrets.token_hex(4)}"
    block = create_role_block(name)
    async with databases(stack, 2) as urls:
        first, second = [await asyncpg.connect(url) for url in urls]
        transaction = first.transaction()
        await transaction.start()
        await first.execute(block)
        waiting = asyncio.create_task(second.execute(block))
        await until(lambda: first.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"), seconds=60)

        await transaction.commit()
        await waiting

        assert await second.fetchval("SELECT to_regrole($1) IS NOT NULL", name)
        await first.execute(f"DROP ROLE {name}")
        await first.close()
        await second.close()


async def test_a_user_without_the_right_to_create_roles_can_migrate(stack: StackEnv):
    """The roles exist already here; the user cannot grant them either, and need not."""
    server = await asyncpg.connect(stack.database_url)
    name, password = f"plain_{secrets.token_hex(4)}", secrets.token_hex(8)
    await server.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    try:
        async with databases(stack, 1, owner=name) as (url,):
            parts = urlsplit(url)
            own_url = parts._replace(netloc=f"{name}:{password}@{parts.hostname}:{parts.port}").geturl()
            assert await migrate(own_url)
            connection = await asyncpg.connect(own_url)
            missing = f"role_{secrets.token_hex(4)}"
            await connection.execute(create_role_block(missing))
            assert await connection.fetchval("SELECT to_regrole($1)", missing) is None
            assert await connection.fetchval("SELECT public.settlement_grant()") == []
            await connection.close()
    finally:
        await server.execute(f"DROP ROLE {name}")
        await server.close()
