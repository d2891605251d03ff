"""What Kafka is told of how far we are."""

import asyncio

import pytest

from worker.kafka import names
from worker.kafka.source import Place
from worker.stream import offset_reporter
from worker.stream.offset_reporter import OffsetReporter

QUIET, BUSY, LEFT = (names.INVOICES, 1), (names.INVOICES, 2), (names.INVOICES, 3)


class Told:
    """In the place of the source: what was committed, and a signal once a number of commits was reached."""

    def __init__(self, wanted: int) -> None:
        self.commits: list[dict[Place, int]] = []
        self.enough = asyncio.Event()
        self._wanted = wanted

    async def commit(self, offsets: dict[Place, int]) -> None:
        self.commits.append(dict(offsets))
        if len(self.commits) == self._wanted:
            self.enough.set()


async def test_the_offset_of_a_quiet_partition_is_committed_again_so_that_kafka_keeps_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(offset_reporter, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(offset_reporter, "REPEAT_SECONDS", 0.0)
    source = Told(2)
    one = OffsetReporter(source)

    one.note({QUIET: 7, LEFT: 9})
    one.note({BUSY: 8})
    one.forget({3})
    async with asyncio.timeout(10):
        await source.enough.wait()
    await one.discard()

    assert source.commits[:2] == [{QUIET: 7, BUSY: 8}] * 2


async def test_unchanged_offsets_are_not_committed_again_within_the_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offset_reporter, "PAUSE_SECONDS", 0.0)
    source = Told(1)
    one = OffsetReporter(source)

    one.note({QUIET: 7})
    async with asyncio.timeout(10):
        await source.enough.wait()
    one.note({BUSY: 8})
    await one.flush(10)
    await one.discard()

    assert source.commits == [{QUIET: 7}, {BUSY: 8}]
