"""A page that the database does not serve says so; what is no defect of ours leaves no traceback in the log."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
from aiohttp.test_utils import TestClient, TestServer
from structlog.testing import capture_logs

from worker.ops.guard import Guard
from worker.ops.server import PAGES, Server
from worker.ops.site import Site
from worker.ops.totals import Totals
from worker.postgres.refusals import describe_postgres_error
from worker.settings import load

FROM_THE_TABLES = sorted(PAGES.keys() - {"/", "/orders"})
AWAY, LACKS, BROKE = "No answer from the database", "The database lacks what this page shows", "This page broke"
READS = "The database is read-only"


async def page(path: str, problem: Exception) -> tuple[int, str, list[Any]]:
    """What a person sees, and what the log says, where every look at the database ends so."""

    @asynccontextmanager
    async def snapshot() -> AsyncIterator[None]:
        raise problem
        yield

    settings = load({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": "postgresql://u:p@127.0.0.1:9/d"})
    view: Any = SimpleNamespace(totals=Totals(), incomplete_reason=lambda: None)
    monitor: Any = SimpleNamespace(dead_letters={}, problem=None)
    reader: Any = SimpleNamespace(snapshot=snapshot)
    site = Site(settings, Guard(settings), view, monitor, reader)
    with capture_logs() as logged:
        async with TestClient(TestServer(Server(site).application())) as client, client.get(
            path, params={"id": "1"}
        ) as answer:  # fmt: skip
            return answer.status, await answer.text(), logged


@pytest.mark.parametrize("path", FROM_THE_TABLES)
@pytest.mark.parametrize(("problem", "says"), [
    (asyncpg.InvalidPasswordError("password authentication failed"), AWAY),
    (asyncpg.InvalidCatalogNameError('database "x" does not exist'), AWAY),
    (asyncpg.CannotConnectNowError("the database system is starting up"), AWAY),
    (asyncpg.AdminShutdownError("terminating connection"), AWAY),
    (asyncpg.InternalClientError("cannot switch to state 11; another operation (2) is in progress"), AWAY),
    (asyncpg.TooManyConnectionsError("too many clients already"), AWAY),
    (asyncpg.LockNotAvailableError("lock timeout"), AWAY),
    (asyncpg.SerializationError("canceling statement due to conflict with recovery"), AWAY),
    (asyncpg.TransactionTimeoutError("terminating connection due to transaction timeout"), AWAY),
    (asyncpg.ReadOnlySQLTransactionError("cannot execute INSERT in a read-only transaction"), READS),
    (ConnectionRefusedError(111, "Connection refused"), AWAY),
    (asyncpg.UndefinedTableError('relation "ledger.orders" does not exist'), LACKS),
    (asyncpg.InsufficientPrivilegeError("permission denied for schema ledger"), LACKS),
], ids=lambda one: type(one).__name__ if isinstance(one, Exception) else "")  # fmt: skip
async def test_an_error_of_the_database_is_shown_and_logged_as_a_warning(path: str, problem: Exception, says: str):
    status, text, logged = await page(path, problem)

    assert (status, says in text) == (503, True)
    assert [(one["log_level"], one["problem"]) for one in logged] == [("warning", describe_postgres_error(problem))]


async def test_a_name_that_the_database_cannot_store_is_not_found():
    status, text, logged = await page("/needs", asyncpg.CharacterNotInRepertoireError("invalid byte sequence: 0x00"))

    assert (status, "There is no such name" in text, logged) == (404, True, [])


async def test_a_defect_is_logged_with_its_traceback():
    status, text, logged = await page("/needs", asyncpg.PostgresSyntaxError("syntax error"))

    assert (status, BROKE in text) == (500, True)
    assert [(one["log_level"], bool(one["exc_info"])) for one in logged] == [("error", True)]
