"""Conversion of values for the database: times to the millisecond, rows to arrays of columns."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MS, _LAST_MS = ((edge - _EPOCH) // timedelta(milliseconds=1)
                       for edge in (datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)))  # fmt: skip


@lru_cache(1_024)  # all decisions of a cycle have the same time
def moment(at_ms: int) -> datetime:
    """A time for the database, clamped to the years 1 to 9999."""
    return _EPOCH + timedelta(milliseconds=min(max(at_ms, _FIRST_MS), _LAST_MS))


def milliseconds(at: datetime) -> int:
    """A time of the database in milliseconds."""
    return (at - _EPOCH) // timedelta(milliseconds=1)


def moment_or_none(at_ms: int | None) -> datetime | None:
    return None if at_ms is None else moment(at_ms)


def milliseconds_or_none(at: datetime | None) -> int | None:
    return None if at is None else milliseconds(at)


def columns(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """One array for each column, as `unnest` takes them."""
    return [list(column) for column in zip(*rows, strict=True)]
