"""Each partition's leader is asked where an earlier leader's records end, and what it says instead is told apart."""

from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import IncompatibleBrokerVersion, LeaderNotAvailableError, NotLeaderForPartitionError

from worker.kafka.leader_epochs import ends_of_epochs

INVOICES = [TopicPartition("invoices", partition) for partition in range(3)]
NOT_LEADER = 6


class Brokers:
    """Stands for aiokafka's client: who leads which partition, and where the records of each epoch end there."""

    def __init__(self, leaders: dict[int, int | None], ends: dict[tuple[int, int], int], error: int = 0) -> None:
        self.cluster = self
        self.asked: list[int] = []
        self._leaders = leaders
        self._ends = ends
        self._error = error

    def leader_for_partition(self, one: TopicPartition) -> int | None:
        return self._leaders[one.partition]

    async def send(self, node: int, request: Any) -> Any:
        self.asked.append(node)
        question = request.prepare({23: (2, 4)})
        answered = [
            (topic, [(self._error, partition, epoch, self._ends[partition, epoch]) for partition, _, epoch in asked])
            for topic, asked in question.topics
        ]
        return question.RESPONSE_TYPE(0, answered)


class Older(Brokers):
    async def send(self, node: int, request: Any) -> Any:
        raise IncompatibleBrokerVersion


async def test_each_leader_is_asked_once_for_all_that_it_leads():
    brokers = Brokers({0: 1, 1: 2, 2: 1}, {(0, 4): 10, (1, 5): 20, (2, 0): -1})

    assert await ends_of_epochs(brokers, dict(zip(INVOICES, (4, 5, 0), strict=True))) == dict(
        zip(INVOICES, (10, 20, -1), strict=True)
    )
    assert sorted(brokers.asked) == [1, 2]


async def test_who_does_not_lead_any_more_is_not_believed():
    with pytest.raises(NotLeaderForPartitionError, match="invoices partition 0"):
        await ends_of_epochs(Brokers({0: 1}, {(0, 4): 10}, error=NOT_LEADER), {INVOICES[0]: 4})


@pytest.mark.parametrize("nobody", [None, -1])
async def test_where_nobody_leads_nobody_is_asked(nobody: int | None):
    with pytest.raises(LeaderNotAvailableError, match="invoices partition 0"):
        await ends_of_epochs(Brokers({0: nobody}, {}), {INVOICES[0]: 4})


async def test_brokers_that_cannot_say_are_not_waited_for():
    assert await ends_of_epochs(Older({0: 1}, {}), {INVOICES[0]: 4}) == {}
