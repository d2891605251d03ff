"""Errors of the stream, and what to do about each error that a transaction can raise."""

from enum import Enum, auto

import asyncpg
from aiokafka.errors import KafkaError

# PostgreSQL's classes: 22 data exception, 23 integrity constraint violation.
_SPLIT = ("22", "23")
# 40 transaction rollback (deadlock, serialization), 55P03 lock not available.
_RETRY = ("40", "55P03")
# 08 connection, 25 a replica, 28 not let in, 3D no such database yet, 42501 a right is missing,
# 53 resources, 55 object state, 57 operator, 58 system, XX internal.
_RESTART = ("08", "25", "28", "3D", "42501", "53", "55", "57", "58", "XX")


class Remedy(Enum):
    """What to do about an error."""

    SPLIT = auto()
    """The batch was refused for its content: retry it in halves, until one record is left."""
    RETRY = auto()
    """Retry the same transaction at once."""
    RESTART = auto()
    """A server is away, or partitions are no longer ours: drop all memory, wait, begin a new session."""
    EXIT = auto()
    """Waiting does not help: end the process."""


class FencedError(Exception):
    """A partition that this worker writes for is no longer its own."""


class HeldUpError(asyncpg.LockNotAvailableError):  # type: ignore[misc]
    """Another session held a lock for longer than lock_timeout; the message names it."""


class CycleTooLargeError(Exception):
    """A batch causes more output than memory should hold."""


class UncertainCommitError(Exception):
    """COMMIT was sent and its result is unknown: the transaction may be durable."""


def remedy(problem: BaseException) -> Remedy:
    """Returns what to do about this error."""
    match problem:
        case FencedError() | UncertainCommitError() | KafkaError() | OSError() | TimeoutError():
            return Remedy.RESTART
        case CycleTooLargeError():
            return Remedy.SPLIT
        case asyncpg.PostgresError():
            return _by_state(problem.sqlstate or "")
        case asyncpg.InterfaceError() if isinstance(problem, ValueError):
            return Remedy.SPLIT  # asyncpg could not encode a value for its column
        case asyncpg.InterfaceError() | asyncpg.InternalClientError():
            return Remedy.RESTART  # the connection was closed under us
        case _:
            return Remedy.EXIT


def _by_state(state: str) -> Remedy:
    if state.startswith(_SPLIT):
        return Remedy.SPLIT
    if state.startswith(_RETRY):
        return Remedy.RETRY
    return Remedy.RESTART if state.startswith(_RESTART) else Remedy.EXIT
