"""A reachable database that refuses work: the worker waits, is not ready, loses nothing and resumes by itself."""

from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.integration.login import login
from tests.integration.stream.deployment import StreamDeployment
from tests.integration.stream.in_process_worker import InProcessWorker
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
# The statements that break the database and those that repair it; `{name}` is the database.
FAULTS = {
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


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_worker_waits_out_a_database_that_refuses_work(deployment: StreamDeployment, fault: str):
    name = urlsplit(deployment.settings.database).path.removeprefix("/")
    break_it, repair = (statements.format(name=f'"{name}"') for statements in FAULTS[fault])
    await assert_waits_and_resumes(deployment, deployment.settings, break_it, repair)


async def test_a_worker_waits_out_a_database_without_free_connections(deployment: StreamDeployment):
    await deployment.database.execute("GRANT ALL ON toy_orders, toy_seen TO settlement_ledger")
    async with login(deployment.settings.database, "settlement_ledger") as url:
        limit = f"ALTER ROLE {urlsplit(url).username} CONNECTION LIMIT"
        settings = load(deployment.environment | {"DATABASE_URL": url})
        await assert_waits_and_resumes(
            deployment, settings, f"{limit} 0;\n{END_SESSIONS}", f"{limit} -1", "too many connections for role"
        )


async def test_a_worker_without_a_privilege_reports_it_and_waits_for_it(deployment: StreamDeployment):
    async with login(deployment.settings.database, "settlement_ledger") as url:
        await deployment.database.execute("GRANT ALL ON toy_orders, toy_seen TO settlement_ledger")
        settings = load(deployment.environment | {"DATABASE_URL": url})
        right = "INSERT ON ledger.outbox {} settlement_ledger"
        break_it, repair = f"REVOKE {right.format('FROM')}", f"GRANT {right.format('TO')}"
        await assert_waits_and_resumes(deployment, settings, break_it, repair, "permission denied for table outbox")


async def assert_waits_and_resumes(
    deployment: StreamDeployment, settings: Settings, break_it: str, repair: str, message: str = ""
) -> None:
    """Breaks the database under a worker and repairs it: the worker is not ready meanwhile and resumes by itself."""
    worker = InProcessWorker(settings)
    await deployment.send_many([(f"order-{n % 10}", b"{}", None) for n in range(50)])
    await deployment.until_seen(50)
    server = await asyncpg.connect(urlsplit(deployment.settings.database)._replace(path="/postgres").geturl())
    for statement in break_it.split(";\n"):
        await (server if statement.startswith("ALTER") else deployment.database).execute(statement)
    await deployment.send_many([(f"order-{n % 10}", b"{}", None) for n in range(50)])

    async def is_not_ready() -> bool:
        problem = worker.runner.condition().get("problem")
        return problem is not None and message in problem

    await deployment.until(is_not_ready, "readiness gone")
    await (server if repair.startswith("ALTER") else deployment.database).execute(repair)
    await server.close()

    await deployment.check_orders({f"order-{n}": 10 for n in range(10)})
    assert not worker.runner.condition()
    await worker.stop()


async def test_a_slow_database_does_not_end_the_session(deployment: StreamDeployment):
    await deployment.database.execute(
        "CREATE FUNCTION public.trouble() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN PERFORM pg_sleep(0.2); RETURN NEW; END $$; {ON_EACH_ROW}"
    )
    worker = InProcessWorker(deployment.settings)

    await deployment.send_many([(f"order-{n % 10}", b"{}", None) for n in range(50)])

    await deployment.check_orders({f"order-{n}": 5 for n in range(10)})
    assert worker.toy.drops == 0
    await worker.stop()
