"""Rows that other workers wrote for our partitions: all of them are found, in their order, also the last one."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import asyncpg
import pytest

from worker.kafka import names
from worker.kafka.packing import pack
from worker.kafka.records import Outgoing
from worker.postgres.connecting import connect
from worker.stream import misplaced_rows, outbox
from worker.stream.misplaced_rows import MisplacedRows
from worker.stream.ownership import Ownership
from worker.stream.publisher import Publisher

PARTITION = 3


@pytest.fixture
async def ours(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database_url, name="ours", schema="ledger")
    yield connection
    await connection.close()


@pytest.fixture
async def theirs(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database_url, name="theirs", schema="ledger")
    yield connection
    await connection.close()


async def write(connection: asyncpg.Connection, value: bytes = b"{}") -> int:
    """A row of another worker for our partition."""
    records = outbox.encode(pack([Outgoing(names.ORDERS, PARTITION, b"order", value, [])]))
    return await connection.fetchval(
        "INSERT INTO outbox (partition, misplaced, records) VALUES ($1, true, $2) RETURNING id", PARTITION, records
    )


async def test_the_last_row_of_a_worker_that_has_gone_is_looked_for(
    ours: asyncpg.Connection, theirs: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(misplaced_rows, "POLL_SECONDS", 0.0)
    members, published = SimpleNamespace(alone=False, solo_periods=1), SimpleNamespace(known=set[int]())
    looking = MisplacedRows(cast("Ownership", members), cast("Publisher", published))
    assert not await looking.are_due(ours, [PARTITION])

    row = await write(theirs)
    members.alone, members.solo_periods = True, 2

    assert await looking.are_due(ours, [PARTITION]), "it was written before its worker left"
    found, _ = await looking.find(ours, [PARTITION])
    assert [one.id for one in found] == [row]
    published.known.add(row)
    assert await looking.find(ours, [PARTITION]) == ([], False)
    assert looking.next_look_at is None, "nobody is left who could write one"

    members.solo_periods = 3
    assert looking.next_look_at is not None, "somebody came and went"


async def test_a_look_that_began_among_others_says_nothing_of_later(
    ours: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(misplaced_rows, "POLL_SECONDS", 0.0)
    members = SimpleNamespace(alone=False, solo_periods=0)
    looking = MisplacedRows(cast("Ownership", members), cast("Publisher", SimpleNamespace(known=())))

    async def meanwhile_the_other_leaves(*_: Any) -> tuple[list[outbox.Row], bool]:
        members.alone, members.solo_periods = True, 1
        return [], False

    monkeypatch.setattr(outbox, "find_misplaced", meanwhile_the_other_leaves)
    await looking.find(ours, [PARTITION])

    assert looking.next_look_at is not None


async def test_what_was_left_over_goes_out_in_the_order_of_ids_also_if_a_row_was_committed_late(
    ours: asyncpg.Connection, theirs: asyncpg.Connection
):
    late = theirs.transaction()
    await late.start()
    first = await write(theirs)
    early = [await write(ours) for _ in range(outbox.LEFT_OVER_PAGE_ROWS)]
    page = await outbox.left_over(ours, [PARTITION], [])
    assert [one.id for one in page] == early

    await late.commit()
    after = await write(theirs)

    assert [one.id for one in await outbox.left_over(ours, [PARTITION], early)] == [first, after]
