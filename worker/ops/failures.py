"""What a page says, in a sentence, when it cannot be shown, and what the log says about it."""

from collections.abc import Sequence

import asyncpg
from aiohttp import web
from aiokafka.errors import KafkaError
from msgspec import Struct

from worker import telemetry
from worker.kafka.refusals import describe_kafka_error
from worker.ops.query import subject_page
from worker.ops.site import Site
from worker.people.acting import NotFoundError, Refused
from worker.postgres.connecting import DatabaseUrlError
from worker.postgres.refusals import describe_postgres_error


class Failure(Struct, frozen=True):
    """Errors of the database that are no defect of ours."""

    errors: tuple[type[BaseException], ...]
    logged: str
    title: str
    text: str
    only_of_forms: bool = False


# The first that fits an error is shown.
FAILURES: Sequence[Failure] = (
    Failure(
        (asyncpg.ReadOnlySQLTransactionError,),
        "the database refuses a page's write", "The database is read-only",
        "Nothing was done. It is a standby, or set to read only: DATABASE_URL must name the primary.",
    ),
    Failure(
        (asyncpg.InsufficientPrivilegeError,),
        "the database login may only look", "This login may only look",
        "Nothing was done. DATABASE_URL of `settlement ops` needs a login of the role settlement_operator.",
        only_of_forms=True,
    ),
    # Errors that pass by themselves or are fixed at the database: it does not answer, refuses the log-in, is full, was
    # stopped by its operator, holds a lock, ran into a timeout, or is a standby that cancelled a read for its replay.
    Failure(
        (
            asyncpg.PostgresConnectionError, asyncpg.InvalidAuthorizationSpecificationError,
            asyncpg.InvalidCatalogNameError, asyncpg.InsufficientResourcesError, asyncpg.OperatorInterventionError,
            asyncpg.LockNotAvailableError, asyncpg.TransactionRollbackError, asyncpg.InvalidTransactionStateError,
            asyncpg.InterfaceError, asyncpg.InternalClientError, DatabaseUrlError, OSError, TimeoutError,
        ),
        "the database did not answer a page", "No answer from the database",
        "The page is back when the database is.",
    ),
    Failure(
        (
            asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.InvalidSchemaNameError,
            asyncpg.InsufficientPrivilegeError,
        ),
        "the database lacks what a page asks for", "The database lacks what this page shows",
        "Tables are missing, or this login may not read them: the log of `settlement ops` says which.",
    ),
)  # fmt: skip


async def explain(site: Site, request: web.Request, problem: Exception) -> web.Response:
    """The page for an error; only a defect of ours is logged with its traceback."""
    subject = subject_page(request.query if request.method != "POST" else await request.post())
    if isinstance(problem, Refused):
        sentence = str(problem)
        status, title = (404, "Not found") if isinstance(problem, NotFoundError) else (409, "That cannot be done")
        return site.message(
            request, status, title, f"{sentence[:1].upper()}{sentence[1:]}.", subject=None if status == 404 else subject
        )
    if isinstance(problem, asyncpg.CharacterNotInRepertoireError):  # U+0000, which PostgreSQL stores in no text
        return site.message(request, 404, "Not found", "Nothing can have the name in this address.")
    if isinstance(problem, KafkaError):
        _log(request, "Kafka did not answer a page", describe_kafka_error(problem))
        return site.message(
            request, 503, "No answer from Kafka", "Try again later; nothing is done twice.", subject=subject
        )
    for failure in FAILURES:
        if isinstance(problem, failure.errors) and not (failure.only_of_forms and request.method != "POST"):
            _log(request, failure.logged, describe_postgres_error(problem))
            return site.message(request, 503, failure.title, failure.text, subject=subject)
    telemetry.log.error("a page failed", exc_info=problem, path=request.path)
    return site.message(request, 500, "This page broke", "The log of `settlement ops` says why.", subject=subject)


def _log(request: web.Request, event: str, problem: str) -> None:
    telemetry.log.warning(event, problem=problem, path=request.path)
