"""Every error has a remedy: split the cycle, retry it, restart the session, or exit."""

import asyncpg
import pytest
from aiokafka.errors import KafkaConnectionError, RequestTimedOutError

from worker.stream.faults import FencedError, Remedy, UncertainCommitError, remedy


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (asyncpg.NumericValueOutOfRangeError("x"), Remedy.SPLIT),
        (asyncpg.UntranslatableCharacterError("x"), Remedy.SPLIT),
        (asyncpg.CheckViolationError("x"), Remedy.SPLIT),
        (asyncpg.UniqueViolationError("x"), Remedy.SPLIT),
        (asyncpg.exceptions._base.DataError("x"), Remedy.SPLIT),
        (asyncpg.DeadlockDetectedError("x"), Remedy.RETRY),
        (asyncpg.SerializationError("x"), Remedy.RETRY),
        (asyncpg.LockNotAvailableError("x"), Remedy.RETRY),
        (asyncpg.ConnectionDoesNotExistError("x"), Remedy.RESTART),
        (asyncpg.AdminShutdownError("x"), Remedy.RESTART),
        (asyncpg.DiskFullError("x"), Remedy.RESTART),
        (asyncpg.TooManyConnectionsError("x"), Remedy.RESTART),
        (asyncpg.ReadOnlySQLTransactionError("x"), Remedy.RESTART),
        (asyncpg.IdleInTransactionSessionTimeoutError("x"), Remedy.RESTART),
        (asyncpg.QueryCanceledError("x"), Remedy.RESTART),
        (asyncpg.InterfaceError("connection is closed"), Remedy.RESTART),
        (asyncpg.InternalClientError("cannot switch to state 11"), Remedy.RESTART),
        (ConnectionRefusedError(), Remedy.RESTART),
        (TimeoutError(), Remedy.RESTART),
        (KafkaConnectionError(), Remedy.RESTART),
        (RequestTimedOutError(), Remedy.RESTART),
        (FencedError("x"), Remedy.RESTART),
        (UncertainCommitError("x"), Remedy.RESTART),
        (asyncpg.InsufficientPrivilegeError("x"), Remedy.RESTART),
        (asyncpg.UndefinedTableError("x"), Remedy.EXIT),
        (AssertionError("x"), Remedy.EXIT),
        (KeyError("x"), Remedy.EXIT),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_has_its_remedy(problem: BaseException, expected: Remedy):
    assert remedy(problem) is expected
