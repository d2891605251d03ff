"""Offsets are committed to Kafka after a pause, and repeated so that Kafka keeps them."""

import asyncio

import pytest

from worker.kafka import names
from worker.kafka.source import Place
from worker.stream import offset_reporter
from worker.stream.offset_reporter import OffsetReporter

QUIET, BUSY, REVOKED = (names.INVOICES, 1), (names.INVOICES, 2), (names.INVOICES, 3)


class RecordingSource:
    """Replaces the source: keeps the commits, and sets an event after a number of them."""

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
    source = RecordingSource(2)
    reporter = OffsetReporter(source)

    reporter.note({QUIET: 7, REVOKED: 9})
    reporter.note({BUSY: 8})
    reporter.forget({3})
    async with asyncio.timeout(10):
        await source.enough.wait()
    await reporter.discard()

    assert source.commits[:2] == [{QUIET: 7, BUSY: 8}] * 2


async def test_unchanged_offsets_are_not_committed_again_within_the_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offset_reporter, "PAUSE_SECONDS", 0.0)
    source = RecordingSource(1)
    reporter = OffsetReporter(source)

    reporter.note({QUIET: 7})
    async with asyncio.timeout(10):
        await source.enough.wait()
    reporter.note({BUSY: 8})
    await reporter.flush(10)
    await reporter.discard()

    assert source.commits == [{QUIET: 7}, {BUSY: 8}]
