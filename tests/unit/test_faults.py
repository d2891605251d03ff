"""Every error says whether waiting helps."""

import asyncpg
import pytest
from aiokafka.errors import KafkaConnectionError, RequestTimedOutError

from worker.stream.faults import Fate, FencedError, UncertainCommitError, fate


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (asyncpg.NumericValueOutOfRangeError("x"), Fate.REFUSED),
        (asyncpg.UntranslatableCharacterError("x"), Fate.REFUSED),
        (asyncpg.CheckViolationError("x"), Fate.REFUSED),
        (asyncpg.UniqueViolationError("x"), Fate.REFUSED),
        (asyncpg.exceptions._base.DataError("x"), Fate.REFUSED),
        (asyncpg.DeadlockDetectedError("x"), Fate.AGAIN),
        (asyncpg.SerializationError("x"), Fate.AGAIN),
        (asyncpg.LockNotAvailableError("x"), Fate.AGAIN),
        (asyncpg.ConnectionDoesNotExistError("x"), Fate.AWAY),
        (asyncpg.AdminShutdownError("x"), Fate.AWAY),
        (asyncpg.DiskFullError("x"), Fate.AWAY),
        (asyncpg.TooManyConnectionsError("x"), Fate.AWAY),
        (asyncpg.ReadOnlySQLTransactionError("x"), Fate.AWAY),
        (asyncpg.IdleInTransactionSessionTimeoutError("x"), Fate.AWAY),
        (asyncpg.QueryCanceledError("x"), Fate.AWAY),
        (asyncpg.InterfaceError("connection is closed"), Fate.AWAY),
        (ConnectionRefusedError(), Fate.AWAY),
        (TimeoutError(), Fate.AWAY),
        (KafkaConnectionError(), Fate.AWAY),
        (RequestTimedOutError(), Fate.AWAY),
        (FencedError("x"), Fate.AWAY),
        (UncertainCommitError("x"), Fate.AWAY),
        (asyncpg.UndefinedTableError("x"), Fate.BROKEN),
        (AssertionError("x"), Fate.BROKEN),
        (KeyError("x"), Fate.BROKEN),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_problem_has_a_fate(problem: BaseException, expected: Fate):
    assert fate(problem) is expected
