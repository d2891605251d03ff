"""Pages show errors of the database, and only defects of the program are logged with a traceback."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from tests.pages import client_of_pages
from worker.ops.server import PAGES
from worker.postgres.refusals import describe_postgres_error
from worker.settings import load

PAGES_OF_THE_DATABASE = sorted(PAGES.keys() - {"/", "/orders"})
UNAVAILABLE, INCOMPLETE, BROKEN = (
    "No answer from the database",
    "The database lacks what this page shows",
    "This page broke",
)
READ_ONLY = "The database is read-only"


async def page(path: str, problem: Exception) -> tuple[int, str, list[Any]]:
    """The status, the page and the log, if every query of the database raises the problem."""

    @asynccontextmanager
    async def snapshot() -> AsyncIterator[None]:
        raise problem
        yield

    settings = load({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": "postgresql://u:p@127.0.0.1:9/d"})
    pages = client_of_pages(settings, SimpleNamespace(snapshot=snapshot))
    with capture_logs() as logged:
        async with pages as client, client.get(path, params={"id": "1"}) as answer:
            return answer.status, await answer.text(), logged


@pytest.mark.parametrize("path", PAGES_OF_THE_DATABASE)
@pytest.mark.parametrize(("problem", "shown"), [
    (asyncpg.InvalidPasswordError("password authentication failed"), UNAVAILABLE),
    (asyncpg.InvalidCatalogNameError('database "x" does not exist'), UNAVAILABLE),
    (asyncpg.CannotConnectNowError("the database system is starting up"), UNAVAILABLE),
    (asyncpg.AdminShutdownError("terminating connection"), UNAVAILABLE),
    (asyncpg.InternalClientError("cannot switch to state 11; another operation (2) is in progress"), UNAVAILABLE),
    (asyncpg.TooManyConnectionsError("too many clients already"), UNAVAILABLE),
    (asyncpg.LockNotAvailableError("lock timeout"), UNAVAILABLE),
    (asyncpg.SerializationError("canceling statement due to conflict with recovery"), UNAVAILABLE),
    (asyncpg.TransactionTimeoutError("terminating connection due to transaction timeout"), UNAVAILABLE),
    (asyncpg.ReadOnlySQLTransactionError("cannot execute INSERT in a read-only transaction"), READ_ONLY),
    (ConnectionRefusedError(111, "Connection refused"), UNAVAILABLE),
    (asyncpg.UndefinedTableError('relation "ledger.orders" does not exist'), INCOMPLETE),
    (asyncpg.InsufficientPrivilegeError("permission denied for schema ledger"), INCOMPLETE),
], ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "")  # fmt: skip
async def test_an_error_of_the_database_is_shown_and_logged_as_a_warning(path: str, problem: Exception, shown: str):
    status, text, logged = await page(path, problem)

    assert (status, shown in text) == (503, True)
    assert [(line["log_level"], line["problem"]) for line in logged] == [("warning", describe_postgres_error(problem))]


async def test_a_name_that_the_database_cannot_store_is_not_found():
    status, text, logged = await page("/needs", asyncpg.CharacterNotInRepertoireError("invalid byte sequence: 0x00"))

    assert (status, "Nothing can have the name" in text, logged) == (404, True, [])


async def test_a_defect_is_logged_with_its_traceback():
    status, text, logged = await page("/needs", asyncpg.PostgresSyntaxError("syntax error"))

    assert (status, BROKEN in text) == (500, True)
    assert [(line["log_level"], bool(line["exc_info"])) for line in logged] == [("error", True)]
