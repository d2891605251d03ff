"""What Kafka's acknowledgements say of the records before them."""

from collections.abc import Iterator

import pytest

from worker import telemetry
from worker.stream.acknowledged_offsets import RECORDS_LOST, AcknowledgedOffsets

PLACE = ("settlement.commands.v1", 3)


@pytest.fixture(autouse=True)
def _no_alert_stays() -> Iterator[None]:
    yield
    telemetry.clear_alert(RECORDS_LOST)


def lost() -> bool:
    return any(alert["code"] == RECORDS_LOST for alert in telemetry.lasting_alerts())


def test_an_offset_below_an_acknowledged_one_raises_an_alert() -> None:
    offsets = AcknowledgedOffsets()
    offsets.expect({PLACE: 100})

    offsets.record(PLACE, 80, 1)

    assert lost()
    assert not offsets.has_foreign_writes


def test_consecutive_offsets_raise_no_alert_even_if_one_acknowledgement_has_no_offset() -> None:
    offsets = AcknowledgedOffsets()
    offsets.expect({PLACE: 100})

    for offset in (100, -1, 104):
        offsets.record(PLACE, offset, 2)

    assert not lost()
