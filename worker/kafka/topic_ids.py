"""Topic ids, which differ between a topic and the one that was made anew under its name.

Fetches go by name: after a topic was deleted and made anew, they go on in the new one at an offset of the old one.
aiokafka requests metadata in a version without ids; here it is the first version that has them.
"""

from collections.abc import Iterable
from io import BytesIO
from typing import Any
from uuid import UUID

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import IncompatibleBrokerVersion, NoError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

# What aiokafka raises for a request that the broker does not support.
UNKNOWN_REQUEST = (IncompatibleBrokerVersion, NotImplementedError)

_NO_ID = UUID(int=0)


class _TopicId:
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(16)


_BROKER = (("node_id", Int32), ("host", CompactString()), ("port", Int32), ("rack", CompactString()))
_PARTITION = (
    ("error_code", Int16), ("partition", Int32), ("leader", Int32), ("leader_epoch", Int32),
    ("replicas", CompactArray(Int32)), ("isr", CompactArray(Int32)), ("offline", CompactArray(Int32)),
)  # fmt: skip
_TOPIC = (
    ("error_code", Int16), ("topic", CompactString()), ("topic_id", _TopicId), ("internal", Boolean),
    ("partitions", CompactArray(*_PARTITION, ("tags", TaggedFields))), ("operations", Int32),
)  # fmt: skip


class _MetadataResponse(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_ms", Int32), ("brokers", CompactArray(*_BROKER, ("tags", TaggedFields))),
        ("cluster_id", CompactString()), ("controller", Int32),
        ("topics", CompactArray(*_TOPIC, ("tags", TaggedFields))), ("operations", Int32), ("tags", TaggedFields),
    )  # fmt: skip


class _MetadataRequest(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _TopicId), ("name", CompactString()), ("tags", TaggedFields))),
        ("create", Boolean), ("cluster_operations", Boolean), ("topic_operations", Boolean), ("tags", TaggedFields),
    )  # fmt: skip


class _Metadata(Request[_MetadataRequest]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, topics: Iterable[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_MetadataRequest]) -> _MetadataRequest:
        return request_struct_class([(_NO_ID.bytes, name, {}) for name in self._topics], False, False, False, {})


async def topic_ids(client: AIOKafkaClient, topics: Iterable[str]) -> dict[str, UUID]:
    """The id of each topic; empty if the broker knows no ids (before 2.8). Raises if a topic does not exist."""
    try:
        described = await describe_topics(client, topics)
    except UNKNOWN_REQUEST:
        return {}
    ids = ((topic["topic"], UUID(bytes=topic["topic_id"])) for topic in described)
    return {topic: topic_id for topic, topic_id in ids if topic_id != _NO_ID}


async def describe_topics(client: AIOKafkaClient, topics: Iterable[str]) -> list[dict[str, Any]]:
    """The metadata of these topics, under the protocol's names; raises for a topic with an error."""
    answer = await client.send(client.get_random_node(), _Metadata(topics))
    described: list[dict[str, Any]] = answer.to_object()["topics"]
    for topic in described:
        error = for_code(topic["error_code"])
        if error is not NoError:
            raise error(topic["topic"])
    return described
