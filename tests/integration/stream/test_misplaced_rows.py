"""Outbox rows that other workers wrote for our partitions are all found, in order."""

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
    """Writes an outbox row for our partition, as another worker does; its id."""
    records = outbox.encode(pack([Outgoing(names.ORDERS, PARTITION, b"order", value, [])]))
    return await connection.fetchval(
        "INSERT INTO outbox (partition, misplaced, records) VALUES ($1, true, $2) RETURNING id", PARTITION, records
    )


async def test_the_last_misplaced_row_of_a_departed_worker_is_found(
    ours: asyncpg.Connection, theirs: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(misplaced_rows, "POLL_SECONDS", 0.0)
    members, published = SimpleNamespace(alone_since=None), SimpleNamespace(known=set[int]())
    search = MisplacedRows(cast("Ownership", members), cast("Publisher", published))
    assert not await search.are_due(ours, [PARTITION])

    row = await write(theirs)
    members.alone_since = 1.0

    assert await search.are_due(ours, [PARTITION]), "it was written before its worker left"
    rows, _ = await search.find(ours, [PARTITION])
    assert [each.id for each in rows] == [row]
    published.known.add(row)
    assert await search.find(ours, [PARTITION]) == ([], False)
    assert search.next_look_at is None, "no other member could write a row"

    members.alone_since = 2.0
    assert search.next_look_at is not None, "another member came and went"


async def test_a_search_that_began_among_other_members_is_repeated_after_they_leave(
    ours: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(misplaced_rows, "POLL_SECONDS", 0.0)
    members = SimpleNamespace(alone_since=None)
    search = MisplacedRows(cast("Ownership", members), cast("Publisher", SimpleNamespace(known=())))

    async def find_while_the_other_leaves(*_: Any) -> tuple[list[outbox.Row], bool]:
        members.alone_since = 1.0
        return [], False

    monkeypatch.setattr(outbox, "find_misplaced", find_while_the_other_leaves)
    await search.find(ours, [PARTITION])

    assert search.next_look_at is not None


async def test_left_over_rows_are_published_in_id_order_even_if_one_was_committed_late(
    ours: asyncpg.Connection, theirs: asyncpg.Connection
):
    late = theirs.transaction()
    await late.start()
    first = await write(theirs)
    early = [await write(ours) for _ in range(outbox.LEFT_OVER_PAGE_ROWS)]
    page = await outbox.left_over(ours, [PARTITION], [])
    assert [row.id for row in page] == early

    await late.commit()
    after = await write(theirs)

    assert [row.id for row in await outbox.left_over(ours, [PARTITION], early)] == [first, after]
