"""Changes of the view's tables are written once per batch, and a write that Kafka refused is repeated."""

import asyncio
from typing import Any

import faust
import pytest

from tests.until import until
from worker.ops.row import Row
from worker.ops.table import BulkTable
from worker.ops.view import RowModel

Future = asyncio.Future[Any]


class RecordingTable(BulkTable):
    """Keeps each write instead of sending it, with the future that the test completes."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.sent: list[tuple[Any, Any, Future]] = []

    async def _send(self, key: Any, value: Any) -> Future:
        self.sent.append((key, value, asyncio.get_running_loop().create_future()))
        return self.sent[-1][2]


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> RecordingTable:
    monkeypatch.setattr("worker.ops.table.REFUSED_PAUSE_SECONDS", 0)
    app = faust.App("test", broker="kafka://127.0.0.1:1", store="memory://", web_enabled=False)
    return RecordingTable(app, name="orders", partitions=4, key_type=bytes, value_type=RowModel)


async def until_sent(table: RecordingTable, number: int) -> None:
    await until(lambda: len(table.sent) >= number, seconds=5, look_seconds=0)


async def test_a_row_that_changed_several_times_is_written_once(table: RecordingTable):
    for sequence in range(3):
        table[b"o1"] = Row(event_sequence=sequence)
    table[b"o2"] = Row()
    del table[b"o2"]

    assert table.take_changes() == {b"o1": Row(event_sequence=2), b"o2": None}
    assert table.take_changes() == {}


async def test_a_row_of_another_view_is_forgotten_and_not_written_as_deleted(table: RecordingTable):
    keys = [b"o1", b"o2", b"o3", b"o4"]
    for key in keys:
        table[key] = Row()
    own = table.partition_for_key(b"o1")
    kept = [key for key in keys if table.partition_for_key(key) == own]
    assert len(kept) < len(keys)

    table.keep_only({own})

    assert sorted(table.data) == kept
    assert sorted(table.take_changes()) == kept


@pytest.mark.parametrize("cancelled", [False, True], ids=["refused", "cancelled"])
async def test_only_the_write_that_kafka_refused_is_repeated(table: RecordingTable, cancelled: bool):
    table[b"o1"], table[b"o2"] = Row(event_sequence=1), Row(event_sequence=2)
    writing = asyncio.create_task(table.write(table.take_changes()))
    await until_sent(table, 2)
    (_, _, accepted), (key, value, refused) = table.sent

    accepted.set_result(None)
    refused.cancel() if cancelled else refused.set_exception(OSError("away"))
    await until_sent(table, 3)

    assert table.sent[2][:2] == (key, value)
    assert not writing.done(), "a write ends only when Kafka has acknowledged it"
    table.sent[2][2].set_result(None)
    await writing


async def test_a_change_during_a_write_is_left_for_the_next_write(table: RecordingTable):
    table[b"o1"] = Row(event_sequence=1)
    writing = asyncio.create_task(table.write(table.take_changes()))
    await until_sent(table, 1)

    table[b"o1"] = Row(event_sequence=2)
    table.sent[0][2].set_result(None)
    await writing

    assert [value for _, value, _ in table.sent] == [Row(event_sequence=1)]
    assert table.take_changes() == {b"o1": Row(event_sequence=2)}
