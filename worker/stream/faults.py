"""What went wrong, and whether waiting helps."""

from enum import Enum, auto

import asyncpg
from aiokafka.errors import KafkaError

# PostgreSQL's classes: 22 data exception, 23 integrity constraint violation.
_CONTENT = ("22", "23")
# 40 transaction rollback (deadlock, serialization), 55P03 lock not available.
_AGAIN = ("40", "55P03")
# 08 connection, 25 a replica, 28 not let in, 3D no such database yet, 42501 a right is missing,
# 53 resources, 55 object state, 57 operator, 58 system, XX internal.
_AWAY = ("08", "25", "28", "3D", "42501", "53", "55", "57", "58", "XX")


class Remedy(Enum):
    """What to do about a problem."""

    REFUSED = auto()
    """Refused as it is: tried again in smaller pieces, until one record is left."""
    AGAIN = auto()
    """The same once more, now."""
    AWAY = auto()
    """Something that we depend on is away, or partitions are no longer ours: forget everything, wait, start over."""
    BROKEN = auto()
    """Waiting does not help: the process ends."""


class FencedError(Exception):
    """A partition we wrote for is no longer ours."""


class HeldUpError(asyncpg.LockNotAvailableError):  # type: ignore[misc]
    """Somebody holds a lock for longer than we wait; the message says who."""


class TellsTooMuchError(Exception):
    """What a batch causes is more than memory should hold."""


class UncertainCommitError(Exception):
    """COMMIT was sent and no clear answer came: it may have happened."""


def remedy(problem: BaseException) -> Remedy:
    """The one question a caller asks."""
    match problem:
        case FencedError() | UncertainCommitError() | KafkaError() | OSError() | TimeoutError():
            return Remedy.AWAY
        case TellsTooMuchError():
            return Remedy.REFUSED
        case asyncpg.PostgresError():
            return _by_state(problem.sqlstate or "")
        case asyncpg.InterfaceError() if isinstance(problem, ValueError):
            return Remedy.REFUSED  # what the column's type cannot hold, seen before it was sent
        case asyncpg.InterfaceError() | asyncpg.InternalClientError():
            return Remedy.AWAY  # the connection was closed under us
        case _:
            return Remedy.BROKEN


def _by_state(state: str) -> Remedy:
    if state.startswith(_CONTENT):
        return Remedy.REFUSED
    if state.startswith(_AGAIN):
        return Remedy.AGAIN
    return Remedy.AWAY if state.startswith(_AWAY) else Remedy.BROKEN
