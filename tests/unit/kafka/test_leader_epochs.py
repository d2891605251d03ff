"""The leader of each partition is asked where an earlier leader's records end, and its errors are told apart."""

from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import IncompatibleBrokerVersion, LeaderNotAvailableError, NotLeaderForPartitionError

from worker.kafka.leader_epochs import OlderLeaderError, ends_of_epochs

INVOICES = [TopicPartition("invoices", partition) for partition in range(3)]
NOT_LEADER, FENCED, UNKNOWN_EPOCH = 6, 74, 75
CURRENT_EPOCH, METADATA = 5, 3


class Brokers:
    """Replaces aiokafka's client; `ends`: where the records of each partition and epoch end at its leader."""

    def __init__(
        self, leaders: dict[int, int], ends: dict[tuple[int, int], int], error: int = 0, *, knows_ends: bool = True
    ) -> None:
        self.asked: list[tuple[int, int]] = []
        self._leaders = leaders
        self._ends = ends
        self._error = error
        self._knows_ends = knows_ends

    def get_random_node(self) -> int:
        return 1

    async def send(self, node: int, request: Any) -> Any:
        if request.API_KEY == METADATA:
            led = [(0, partition, leader, CURRENT_EPOCH, [], [], [], {}) for partition, leader in self._leaders.items()]
            topic = (0, INVOICES[0].topic, bytes(16), False, led, 0, {})
            return request.prepare({METADATA: (0, 12)}).RESPONSE_TYPE(0, [], "", 1, [topic], 0, {})
        if not self._knows_ends:
            raise IncompatibleBrokerVersion
        question = request.prepare({23: (2, 4)})
        self.asked += [(node, current) for _, asked in question.topics for _, current, _ in asked]
        ends = [
            (topic, [(self._error, partition, epoch, self._ends[partition, epoch]) for partition, _, epoch in asked])
            for topic, asked in question.topics
        ]
        return question.RESPONSE_TYPE(0, ends)


async def test_each_leader_is_asked_once_for_all_its_partitions():
    brokers = Brokers({0: 1, 1: 2, 2: 1}, {(0, 4): 10, (1, 5): 20, (2, 0): -1})

    assert await ends_of_epochs(brokers, dict(zip(INVOICES, (4, 5, 0), strict=True))) == dict(
        zip(INVOICES, (10, 20, -1), strict=True)
    )
    assert sorted(brokers.asked) == [(1, CURRENT_EPOCH), (1, CURRENT_EPOCH), (2, CURRENT_EPOCH)]


@pytest.mark.parametrize("error", [NOT_LEADER, FENCED, UNKNOWN_EPOCH])
async def test_a_broker_that_is_no_longer_leader_is_not_trusted(error: int):
    with pytest.raises(NotLeaderForPartitionError, match="invoices partition 0"):
        await ends_of_epochs(Brokers({0: 1}, {(0, 4): 10}, error), {INVOICES[0]: 4})


async def test_a_leader_older_than_the_requested_epoch_is_not_trusted():
    """It was frozen and does not know its successors: the records that they accepted are not lost."""
    with pytest.raises(OlderLeaderError, match="invoices partition 0"):
        await ends_of_epochs(Brokers({0: 1}, {(0, 6): -1}), {INVOICES[0]: 6})


async def test_a_leader_older_than_the_epoch_of_received_records_is_not_trusted():
    """It still has records that the present leader has lost."""
    with pytest.raises(OlderLeaderError, match="invoices partition 0"):
        await ends_of_epochs(Brokers({0: 1}, {(0, 4): 10}), {INVOICES[0]: 4}, {INVOICES[0]: 6})


async def test_an_older_leader_is_accepted_when_the_caller_assumes_restored_disks():
    restored = Brokers({0: 1}, {(0, 6): -1})

    assert await ends_of_epochs(restored, {INVOICES[0]: 6}, accept_older=True) == {INVOICES[0]: -1}


async def test_a_partition_without_a_leader_is_an_error():
    with pytest.raises(LeaderNotAvailableError, match="invoices partition 0"):
        await ends_of_epochs(Brokers({0: -1}, {}), {INVOICES[0]: 4})


async def test_brokers_that_do_not_support_the_request_return_no_ends():
    assert await ends_of_epochs(Brokers({0: 1}, {}, knows_ends=False), {INVOICES[0]: 4}) == {}
