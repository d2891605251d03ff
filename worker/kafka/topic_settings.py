"""Reads the settings of topics, as any broker knows them."""

from collections.abc import Iterable, Sequence

from aiokafka.admin.config_resource import ConfigResourceType
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import NoError, for_code
from aiokafka.protocol.admin import DescribeConfigsRequest


async def topic_settings(
    client: AIOKafkaClient, topics: Iterable[str], wanted: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Topic → the values of those wanted settings that the broker knows; raises for a topic with an error."""
    request = DescribeConfigsRequest([(ConfigResourceType.TOPIC, topic, wanted) for topic in topics])
    answer = await client.send(client.get_random_node(), request)
    settings: dict[str, dict[str, str]] = {}
    for code, _, _, topic, entries in answer.resources:
        if (error := for_code(code)) is not NoError:
            raise error(topic)
        settings[topic] = {entry[0]: entry[1] for entry in entries}
    return settings
