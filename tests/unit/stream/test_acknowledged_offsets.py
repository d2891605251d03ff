"""Acknowledged offsets show whether Kafka has lost records that it had acknowledged before."""

from collections.abc import Iterator

import pytest

from worker import telemetry
from worker.stream.acknowledged_offsets import RECORDS_LOST, AcknowledgedOffsets

PARTITION = ("settlement.commands.v1", 3)


@pytest.fixture(autouse=True)
def _clear_alert() -> Iterator[None]:
    yield
    telemetry.clear_alert(RECORDS_LOST)


def alert_lasts() -> bool:
    return any(alert["code"] == RECORDS_LOST for alert in telemetry.lasting_alerts())


def test_an_offset_below_an_acknowledged_one_raises_an_alert() -> None:
    offsets = AcknowledgedOffsets()
    offsets.expect({PARTITION: 100})

    offsets.record(PARTITION, 80, 1)

    assert alert_lasts()
    assert not offsets.has_foreign_writes


def test_consecutive_offsets_raise_no_alert_even_if_one_acknowledgement_has_no_offset() -> None:
    offsets = AcknowledgedOffsets()
    offsets.expect({PARTITION: 100})

    for offset in (100, -1, 104):
        offsets.record(PARTITION, offset, 2)

    assert not alert_lasts()
