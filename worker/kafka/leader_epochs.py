"""Which leader took which records: each leader of a partition has a number, its epoch, and records carry it.

A leader that lacks the newest records gives their offsets to others. Where it says that an earlier leader's records end
before what was read of them, the rest was lost. aiokafka does not ask; the request has been there since Kafka 2.3.
"""

from collections.abc import Iterable, Iterator, Mapping

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import LeaderNotAvailableError, NoError, NotLeaderForPartitionError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int16, Int32, Int64, Schema, String

from worker.kafka.topic_ids import UNKNOWN_REQUEST, describe

_CONSUMER = -1
# Not the leader that was meant, or its disk is gone; aiokafka does not know the newer of these numbers.
_ANOTHER_LEADS = {9, 56, 74, 75, 78}
_NAME = String("utf-8")
_Asked = dict[str, list[tuple[int, int, int]]]


class _Answer(Response):  # type: ignore[misc]
    API_KEY = 23
    API_VERSION = 3
    _END = (("error_code", Int16), ("partition", Int32), ("leader_epoch", Int32), ("end_offset", Int64))
    SCHEMA = Schema(("throttle_ms", Int32), ("topics", Array(("topic", _NAME), ("partitions", Array(*_END)))))


class _Question(RequestStruct):  # type: ignore[misc]
    API_KEY = 23
    API_VERSION = 3
    RESPONSE_TYPE = _Answer
    _EPOCH = (("partition", Int32), ("current_leader_epoch", Int32), ("leader_epoch", Int32))
    SCHEMA = Schema(("replica", Int32), ("topics", Array(("topic", _NAME), ("partitions", Array(*_EPOCH)))))


class _EndsOfEpochs(Request[_Question]):  # type: ignore[misc]
    API_KEY = 23

    def __init__(self, asked: _Asked) -> None:
        self._asked = asked

    def build(self, request_struct_class: type[_Question]) -> _Question:
        return request_struct_class(_CONSUMER, list(self._asked.items()))


class OlderLeaderError(LeaderNotAvailableError):  # type: ignore[misc]
    """A broker names a leader older than one whose records were read: it has not heard of that one yet."""


async def ends_of_epochs(
    client: AIOKafkaClient,
    epochs: Mapping[TopicPartition, int],
    seen: Mapping[TopicPartition, int] | None = None,
    *,
    older: bool = False,
) -> dict[TopicPartition, int]:
    """Before which offset the records of these leaders, and of all before them, end; below 0: that one is not known.

    Empty if the broker does not say. Raises where somebody else leads by now: one that was frozen, and still takes
    itself for the leader, answers in good faith. `seen`: the newest leaders that are known, nobody before them is
    believed. `older`: one that never heard of the leader that is asked about is believed all the same.
    """
    try:
        leaders = await _leaders(client, {one.topic for one in epochs})
    except UNKNOWN_REQUEST:
        return {}
    asked: dict[int, _Asked] = {}
    for one, epoch in epochs.items():
        leader, now = leaders.get(one, (-1, -1))
        if leader == -1:
            raise LeaderNotAvailableError(f"{one.topic} partition {one.partition}")
        believed = older and now < epoch
        if now < max(epoch, (seen or {}).get(one, epoch)) and not believed:
            raise OlderLeaderError(f"{one.topic} partition {one.partition}")
        asked.setdefault(leader, {}).setdefault(one.topic, []).append((one.partition, now, epoch))
    found: dict[TopicPartition, int] = {}
    for leader, of_leader in asked.items():
        try:
            answer = await client.send(leader, _EndsOfEpochs(of_leader))
        except UNKNOWN_REQUEST:
            continue
        found.update(_ends(answer))
    return found


def _ends(answer: Response) -> Iterator[tuple[TopicPartition, int]]:
    for topic in answer.to_object()["topics"]:
        for end in topic["partitions"]:
            where = f"{topic['topic']} partition {end['partition']}"
            if end["error_code"] in _ANOTHER_LEADS:
                raise NotLeaderForPartitionError(where)
            if (error := for_code(end["error_code"])) is not NoError:
                raise error(where)
            yield TopicPartition(topic["topic"], end["partition"]), end["end_offset"]


async def leader_epochs(client: AIOKafkaClient, topics: Iterable[str]) -> dict[TopicPartition, int]:
    """The epoch of who leads each partition of these topics now."""
    found = await _leaders(client, topics)
    return {one: epoch for one, (_, epoch) in found.items()}


async def _leaders(client: AIOKafkaClient, topics: Iterable[str]) -> dict[TopicPartition, tuple[int, int]]:
    """Who leads each partition of these topics, and its epoch, as one broker has heard."""
    return {
        TopicPartition(topic["topic"], one["partition"]): (one["leader"], one["leader_epoch"])
        for topic in await describe(client, topics)
        for one in topic["partitions"]
    }
