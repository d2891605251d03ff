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


def test_a_command_that_gets_the_place_of_one_that_kafka_had_acknowledged_is_an_alert() -> None:
    offsets = AcknowledgedOffsets()
    offsets.expect({PLACE: 100})

    offsets.record(PLACE, 80, 1)

    assert lost()
    assert not offsets.has_foreign_writes


def test_commands_that_follow_one_another_are_none_also_where_one_is_acknowledged_without_its_place() -> None:
    offsets = AcknowledgedOffsets()
    offsets.expect({PLACE: 100})

    for offset in (100, -1, 104):
        offsets.record(PLACE, offset, 2)

    assert not lost()
