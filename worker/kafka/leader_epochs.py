"""Asks leaders up to which offset their log has the records of an earlier leader.

Each leader of a partition has a number, its epoch, and records carry the epoch of the leader that took them. A leader
that lacks the newest records gives their offsets to others (log truncation). Brokers know this request since Kafka 2.3,
but aiokafka does not send it.
"""

from collections.abc import Iterable, Iterator, Mapping

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import LeaderNotAvailableError, NoError, NotLeaderForPartitionError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int16, Int32, Int64, Schema, String

from worker.kafka.topic_ids import UNKNOWN_REQUEST, describe_topics

_CONSUMER = -1
# Not the leader with the requested epoch, or its disk failed. aiokafka has no names for the newer of these codes.
_ANOTHER_LEADS = {9, 56, 74, 75, 78}
_NAME = String("utf-8")
# Topic → partition, epoch of its present leader, epoch that is asked about.
_Epochs = dict[str, list[tuple[int, int, int]]]


class _EndsResponse(Response):  # type: ignore[misc]
    API_KEY = 23
    API_VERSION = 3
    _END = (("error_code", Int16), ("partition", Int32), ("leader_epoch", Int32), ("end_offset", Int64))
    SCHEMA = Schema(("throttle_ms", Int32), ("topics", Array(("topic", _NAME), ("partitions", Array(*_END)))))


class _EndsRequest(RequestStruct):  # type: ignore[misc]
    API_KEY = 23
    API_VERSION = 3
    RESPONSE_TYPE = _EndsResponse
    _EPOCH = (("partition", Int32), ("current_leader_epoch", Int32), ("leader_epoch", Int32))
    SCHEMA = Schema(("replica", Int32), ("topics", Array(("topic", _NAME), ("partitions", Array(*_EPOCH)))))


class _EndsOfEpochs(Request[_EndsRequest]):  # type: ignore[misc]
    API_KEY = 23

    def __init__(self, epochs: _Epochs) -> None:
        self._epochs = epochs

    def build(self, request_struct_class: type[_EndsRequest]) -> _EndsRequest:
        return request_struct_class(_CONSUMER, list(self._epochs.items()))


class OlderLeaderError(LeaderNotAvailableError):  # type: ignore[misc]
    """A broker's metadata names a leader older than one whose records were read: it is not up to date yet."""


async def ends_of_epochs(
    client: AIOKafkaClient,
    epochs: Mapping[TopicPartition, int],
    seen: Mapping[TopicPartition, int] | None = None,
    *,
    accept_older: bool = False,
) -> dict[TopicPartition, int]:
    """The offset at which a leader's log ends the records of these epochs and earlier ones; -1 for an unknown epoch.

    Empty if brokers do not know this request. Raises if another broker leads by now: a frozen one that still takes
    itself for the leader would answer in good faith. `seen`: the newest epochs known; an older leader in the metadata
    raises `OlderLeaderError`. `accept_older`: a leader older than the epoch that is asked about is asked all the same.
    """
    try:
        leaders = await _leaders(client, {partition.topic for partition in epochs})
    except UNKNOWN_REQUEST:
        return {}
    requests: dict[int, _Epochs] = {}
    for partition, epoch in epochs.items():
        leader, current_epoch = leaders.get(partition, (-1, -1))
        if leader == -1:
            raise LeaderNotAvailableError(f"{partition.topic} partition {partition.partition}")
        accepted = accept_older and current_epoch < epoch
        if current_epoch < max(epoch, (seen or {}).get(partition, epoch)) and not accepted:
            raise OlderLeaderError(f"{partition.topic} partition {partition.partition}")
        request = requests.setdefault(leader, {})
        request.setdefault(partition.topic, []).append((partition.partition, current_epoch, epoch))
    ends: dict[TopicPartition, int] = {}
    for leader, request in requests.items():
        try:
            answer = await client.send(leader, _EndsOfEpochs(request))
        except UNKNOWN_REQUEST:
            continue
        ends.update(_ends(answer))
    return ends


def _ends(answer: Response) -> Iterator[tuple[TopicPartition, int]]:
    for topic in answer.to_object()["topics"]:
        for end in topic["partitions"]:
            partition = f"{topic['topic']} partition {end['partition']}"
            if end["error_code"] in _ANOTHER_LEADS:
                raise NotLeaderForPartitionError(partition)
            if (error := for_code(end["error_code"])) is not NoError:
                raise error(partition)
            yield TopicPartition(topic["topic"], end["partition"]), end["end_offset"]


async def leader_epochs(client: AIOKafkaClient, topics: Iterable[str]) -> dict[TopicPartition, int]:
    """The epoch of each partition's present leader."""
    leaders = await _leaders(client, topics)
    return {partition: epoch for partition, (_, epoch) in leaders.items()}


async def _leaders(client: AIOKafkaClient, topics: Iterable[str]) -> dict[TopicPartition, tuple[int, int]]:
    """Each partition's leader and its epoch, by the metadata of any one broker."""
    return {
        TopicPartition(topic["topic"], partition["partition"]): (partition["leader"], partition["leader_epoch"])
        for topic in await describe_topics(client, topics)
        for partition in topic["partitions"]
    }
