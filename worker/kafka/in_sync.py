"""How many replicas must be in sync for a broker to accept our writes, which all of them acknowledge."""

from collections.abc import Iterable

from aiokafka.admin.config_resource import ConfigResourceType
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.admin import DescribeConfigsRequest

IN_SYNC_MIN = "min.insync.replicas"


async def in_sync_min(client: AIOKafkaClient, topics: Iterable[str]) -> dict[str, int]:
    """The `min.insync.replicas` of each topic, if Kafka names it."""
    request = DescribeConfigsRequest([(ConfigResourceType.TOPIC, topic, [IN_SYNC_MIN]) for topic in topics])
    answer = await client.send(client.get_random_node(), request)
    return {topic: int(entry[1]) for _, _, _, topic, entries in answer.resources for entry in entries}
