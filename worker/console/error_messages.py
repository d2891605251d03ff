"""Turns an exception that a person can do something about into one sentence, whatever raised it."""

import errno
import ssl
import sys
from urllib.parse import urlsplit

import asyncpg
from aiokafka.errors import KafkaConnectionError, KafkaError, UnknownTopicOrPartitionError

from worker.console.problems import FAILED, USAGE
from worker.embedded import with_embedded_stack
from worker.kafka.batches import UnreadableBatchError
from worker.kafka.refusals import describe_kafka_error
from worker.kafka.topics import TopicsError
from worker.people.acting import Refused
from worker.postgres.connecting import DatabaseUrlError
from worker.postgres.migrations import MigrationError
from worker.postgres.refusals import describe_postgres_error
from worker.recovery.errors import RecoveryError
from worker.settings import Settings, SettingsError, load

# Only writing our own output raises these: no server answers with them.
_OUTPUT_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_OURS = (DatabaseUrlError, Refused, MigrationError, RecoveryError, TopicsError, UnreadableBatchError)


def message_and_exit_code(problem: BaseException) -> tuple[str, int] | None:
    """Returns None for a defect of ours, which deserves its traceback."""
    if isinstance(problem, _OURS) or _is_stack_error(problem):
        return str(problem), FAILED
    if isinstance(problem, SettingsError):
        return str(problem), USAGE
    for kind, describe in _DRIVERS:
        if isinstance(problem, kind):
            return describe(problem), FAILED
    return None


def _database_error(problem: BaseException) -> str:
    return describe_postgres_error(problem, _database_name())


def _kafka_error(problem: BaseException) -> str:
    where = f"Kafka at {_settings().kafka_bootstrap_servers}"
    match problem:
        case KafkaConnectionError() if isinstance(problem.__cause__, ssl.SSLError):
            return f"{where} cannot be talked to, {problem}: check KAFKA_SSL_CAFILE"
        case KafkaConnectionError():
            return f"{where} does not answer: is it running, and is KAFKA_BOOTSTRAP_SERVERS right?"
        case UnknownTopicOrPartitionError():
            return f"{where} lacks a topic of ours: `settlement topics` creates what is missing"
        case _:
            return describe_kafka_error(problem, where)


def _os_error(problem: BaseException) -> str:
    if isinstance(problem, OSError) and problem.filename is not None:
        return f"{problem.filename}: {problem.strerror or problem}"
    if isinstance(problem, OSError) and problem.errno in _OUTPUT_ERRORS:
        return f"the output cannot be written ({problem.strerror})"
    return _database_error(problem)


def _database_name() -> str:
    """Names host, port and database, never the password."""
    url = _settings().database_url
    if url is None:
        return "PostgreSQL"
    parts = urlsplit(url.reveal())
    return f"PostgreSQL at {parts.netloc.rpartition('@')[2]}{parts.path}"


def _settings() -> Settings:
    """Returns the settings of the command, or empty ones if they do not load."""
    try:
        return with_embedded_stack(load())
    except Exception:  # noqa: BLE001 - a second problem must not hide the first
        return Settings()


_DRIVERS = (
    (KafkaError, _kafka_error),
    ((asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError), _database_error),
    (OSError, _os_error),
)


def _is_stack_error(problem: BaseException) -> bool:
    """Looks only among loaded modules: the embedded stack is imported only where it is used."""
    stack = sys.modules.get("worker.stack.errors")
    return stack is not None and isinstance(problem, stack.StackError)
