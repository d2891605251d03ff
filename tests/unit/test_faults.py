"""Every error says whether waiting helps."""

import asyncpg
import pytest
from aiokafka.errors import KafkaConnectionError, RequestTimedOutError

from worker.stream.faults import FencedError, Remedy, UncertainCommitError, remedy


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (asyncpg.NumericValueOutOfRangeError("x"), Remedy.REFUSED),
        (asyncpg.UntranslatableCharacterError("x"), Remedy.REFUSED),
        (asyncpg.CheckViolationError("x"), Remedy.REFUSED),
        (asyncpg.UniqueViolationError("x"), Remedy.REFUSED),
        (asyncpg.exceptions._base.DataError("x"), Remedy.REFUSED),
        (asyncpg.DeadlockDetectedError("x"), Remedy.AGAIN),
        (asyncpg.SerializationError("x"), Remedy.AGAIN),
        (asyncpg.LockNotAvailableError("x"), Remedy.AGAIN),
        (asyncpg.ConnectionDoesNotExistError("x"), Remedy.AWAY),
        (asyncpg.AdminShutdownError("x"), Remedy.AWAY),
        (asyncpg.DiskFullError("x"), Remedy.AWAY),
        (asyncpg.TooManyConnectionsError("x"), Remedy.AWAY),
        (asyncpg.ReadOnlySQLTransactionError("x"), Remedy.AWAY),
        (asyncpg.IdleInTransactionSessionTimeoutError("x"), Remedy.AWAY),
        (asyncpg.QueryCanceledError("x"), Remedy.AWAY),
        (asyncpg.InterfaceError("connection is closed"), Remedy.AWAY),
        (asyncpg.InternalClientError("cannot switch to state 11"), Remedy.AWAY),
        (ConnectionRefusedError(), Remedy.AWAY),
        (TimeoutError(), Remedy.AWAY),
        (KafkaConnectionError(), Remedy.AWAY),
        (RequestTimedOutError(), Remedy.AWAY),
        (FencedError("x"), Remedy.AWAY),
        (UncertainCommitError("x"), Remedy.AWAY),
        (asyncpg.InsufficientPrivilegeError("x"), Remedy.AWAY),
        (asyncpg.UndefinedTableError("x"), Remedy.BROKEN),
        (AssertionError("x"), Remedy.BROKEN),
        (KeyError("x"), Remedy.BROKEN),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_problem_says_what_helps(problem: BaseException, expected: Remedy):
    assert remedy(problem) is expected
