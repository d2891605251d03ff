"""The sentence for whatever went wrong, where a person can mend it: it knows all rooms and both drivers."""

import errno
import ssl
import sys
from urllib.parse import urlsplit

import asyncpg
from aiokafka.errors import KafkaConnectionError, KafkaError, UnknownTopicOrPartitionError

from worker.console.problems import FAILED, STOPPED, USAGE
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

# Of all that people and programs write to only our own output: no server answers so.
_NOT_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_OURS = (DatabaseUrlError, Refused, MigrationError, RecoveryError, TopicsError, UnreadableBatchError)


def error_message(problem: BaseException) -> tuple[str, int] | None:
    """What to tell the person, and the exit code; None: it is a defect of ours."""
    if isinstance(problem, _OURS) or _is_of_the_stack(problem):
        return str(problem), FAILED
    if isinstance(problem, SettingsError):
        return str(problem), USAGE
    if isinstance(problem, KeyboardInterrupt):
        return "stopped", STOPPED
    for kind, explain in _DRIVERS:
        if isinstance(problem, kind):
            return explain(problem), FAILED
    return None


def _of_database(problem: BaseException) -> str:
    return describe_postgres_error(problem, _database())


def _of_kafka(problem: BaseException) -> str:
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


def _of_network(problem: BaseException) -> str:
    if isinstance(problem, OSError) and problem.filename is not None:
        return f"{problem.filename}: {problem.strerror or problem}"
    if isinstance(problem, OSError) and problem.errno in _NOT_WRITTEN:
        return f"what is to be shown cannot be written ({problem.strerror})"
    return _of_database(problem)


def _database() -> str:
    """Host, port and name, never the password."""
    url = _settings().database_url
    if url is None:
        return "PostgreSQL"
    parts = urlsplit(url.reveal())
    return f"PostgreSQL at {parts.netloc.rpartition('@')[2]}{parts.path}"


def _settings() -> Settings:
    """As the command had them; where they do not even load, there is nothing to name."""
    try:
        return with_embedded_stack(load())
    except Exception:  # noqa: BLE001 - a second problem must not hide the first
        return Settings()


_DRIVERS = (
    (KafkaError, _of_kafka),
    ((asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError), _of_database),
    (OSError, _of_network),
)


def _is_of_the_stack(problem: BaseException) -> bool:
    """The embedded stack is loaded only where it is used."""
    stack = sys.modules.get("worker.stack.errors")
    return stack is not None and isinstance(problem, stack.StackError)
