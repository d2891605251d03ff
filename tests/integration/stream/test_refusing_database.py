"""A database that is there and refuses: the worker waits, says so, loses nothing, and goes on by itself."""

from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.integration.login import login
from tests.integration.stream.deployment import StreamDeployment
from tests.integration.stream.hosted import Hosted
from worker.settings import Settings, load

END_SESSIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name LIKE 'settlement-%'"
)
ON_EACH_ROW = "CREATE TRIGGER trouble BEFORE INSERT ON ledger.outbox FOR EACH ROW EXECUTE FUNCTION public.trouble()"
NO_DISK = (
    "CREATE FUNCTION public.trouble() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE 'no space left on device' USING ERRCODE = 'disk_full'; END $$"
)
# What befalls the database, and how it is mended; `{name}` is the database.
TROUBLES = {
    "is read-only, as after a fail-over": (
        f"ALTER DATABASE {{name}} SET default_transaction_read_only = on;\n{END_SESSIONS}",
        "ALTER DATABASE {name} RESET default_transaction_read_only",
    ),
    "takes no connections": (
        f"ALTER DATABASE {{name}} ALLOW_CONNECTIONS false;\n{END_SESSIONS}",
        "ALTER DATABASE {name} ALLOW_CONNECTIONS true",
    ),
    "has no disk left": (f"{NO_DISK};\n{ON_EACH_ROW}", "DROP TRIGGER trouble ON ledger.outbox"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_database_that_refuses_costs_time_and_nothing_else(deployment: StreamDeployment, trouble: str):
    name = urlsplit(deployment.settings.database).path.removeprefix("/")
    befall, mend = (statements.format(name=f'"{name}"') for statements in TROUBLES[trouble])
    await costs_time_only(deployment, deployment.settings, befall, mend)


async def test_a_database_out_of_connections_costs_time_and_nothing_else(deployment: StreamDeployment):
    await deployment.database.execute("GRANT ALL ON toy_orders, toy_seen TO settlement_ledger")
    async with login(deployment.settings.database, "settlement_ledger") as url:
        limit = f"ALTER ROLE {urlsplit(url).username} CONNECTION LIMIT"
        settings = load(deployment.environment | {"DATABASE_URL": url})
        await costs_time_only(
            deployment, settings, f"{limit} 0;\n{END_SESSIONS}", f"{limit} -1", "too many connections for role"
        )


async def test_a_worker_without_a_right_waits_for_it_and_says_which(deployment: StreamDeployment):
    async with login(deployment.settings.database, "settlement_ledger") as url:
        await deployment.database.execute("GRANT ALL ON toy_orders, toy_seen TO settlement_ledger")
        settings = load(deployment.environment | {"DATABASE_URL": url})
        right = "INSERT ON ledger.outbox {} settlement_ledger"
        befall, mend = f"REVOKE {right.format('FROM')}", f"GRANT {right.format('TO')}"
        await costs_time_only(deployment, settings, befall, mend, "permission denied for table outbox")


async def costs_time_only(
    deployment: StreamDeployment, settings: Settings, befall: str, mend: str, says: str = ""
) -> None:
    """A worker is at work when the trouble comes, is not ready while it lasts, and goes on by itself."""
    worker = Hosted(settings)
    await deployment.send_many([(f"order-{n % 10}", b"{}", None) for n in range(50)])
    await deployment.until_seen(50)
    server = await asyncpg.connect(urlsplit(deployment.settings.database)._replace(path="/postgres").geturl())
    for statement in befall.split(";\n"):
        await (server if statement.startswith("ALTER") else deployment.database).execute(statement)
    await deployment.send_many([(f"order-{n % 10}", b"{}", None) for n in range(50)])

    async def red() -> bool:
        problem = worker.runner.condition().get("problem")
        return problem is not None and says in problem

    await deployment.until(red, "readiness gone")
    await (server if mend.startswith("ALTER") else deployment.database).execute(mend)
    await server.close()

    await deployment.check_orders({f"order-{n}": 10 for n in range(10)})
    assert not worker.runner.condition()
    await worker.stop()


async def test_a_slow_database_is_waited_for_in_the_same_session(deployment: StreamDeployment):
    await deployment.database.execute(
        "CREATE FUNCTION public.trouble() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN PERFORM pg_sleep(0.2); RETURN NEW; END $$; {ON_EACH_ROW}"
    )
    worker = Hosted(deployment.settings)

    await deployment.send_many([(f"order-{n % 10}", b"{}", None) for n in range(50)])

    await deployment.check_orders({f"order-{n}": 5 for n in range(10)})
    assert worker.toy.drops == 0
    await worker.stop()
