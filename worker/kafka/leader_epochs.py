"""Which leader took which records: each leader of a partition has a number, its epoch, and records carry it.

A leader that lacks the newest records gives their offsets to others. Where it says that an earlier leader's records end
before what was read of them, the rest was lost. aiokafka does not ask; the request has been there since Kafka 2.3.
"""

from collections.abc import Iterable, Mapping

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import IncompatibleBrokerVersion, LeaderNotAvailableError, NoError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int16, Int32, Int64, Schema, String

from worker.kafka.topic_ids import describe

_CONSUMER = -1
_ANY_LEADER = -1
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


async def ends_of_epochs(client: AIOKafkaClient, epochs: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """Before which offset the records of these leaders, and of all before them, end; below 0: that one is not known.

    Empty if the broker does not say. Raises where somebody else leads by now.
    """
    asked: dict[int, _Asked] = {}
    for one, epoch in epochs.items():
        leader = client.cluster.leader_for_partition(one)
        if leader in (None, -1):
            raise LeaderNotAvailableError(f"{one.topic} partition {one.partition}")
        asked.setdefault(leader, {}).setdefault(one.topic, []).append((one.partition, _ANY_LEADER, epoch))
    found = {}
    for leader, of_leader in asked.items():
        try:
            answer = await client.send(leader, _EndsOfEpochs(of_leader))
        except (IncompatibleBrokerVersion, NotImplementedError):
            continue
        for topic in answer.to_object()["topics"]:
            for end in topic["partitions"]:
                if (error := for_code(end["error_code"])) is not NoError:
                    raise error(f"{topic['topic']} partition {end['partition']}")
                found[TopicPartition(topic["topic"], end["partition"])] = end["end_offset"]
    return found


async def leader_epochs(client: AIOKafkaClient, topics: Iterable[str]) -> dict[TopicPartition, int]:
    """The epoch of who leads each partition of these topics now."""
    return {
        TopicPartition(topic["topic"], one["partition"]): one["leader_epoch"]
        for topic in await describe(client, topics)
        for one in topic["partitions"]
    }
