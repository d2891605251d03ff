"""Changes to aiokafka where it offers no other way; decision 37 lists the test of each change."""

import asyncio
import time
from contextlib import suppress
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError

from worker.kafka import batches

METADATA_SECONDS_MIN = 0.1
METADATA_SECONDS_MAX = 5.0
METADATA_ATTEMPTS_MAX = 3

_send = AIOKafkaConnection.send
_update = AIOKafkaClient._metadata_update  # noqa: SLF001
_find_coordinator = AIOKafkaClient.coordinator_lookup


def install() -> None:
    """To be called before any client is created, Faust's included."""
    AIOKafkaConnection.send = _send_or_broken
    AIOKafkaClient._metadata_update = _update_with_pauses  # noqa: SLF001
    AIOKafkaClient.coordinator_lookup = _find_coordinator_or_retry
    batches.install()


def _send_or_broken(connection: Any, request: Any, expect_response: bool = True) -> Any:
    """Raises aiokafka's error if the connection is broken and aiokafka has not noticed: uvloop raises RuntimeError."""
    writer = connection._writer  # noqa: SLF001
    if writer is not None and writer.is_closing():
        connection.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"the connection to {connection.host}:{connection.port} is broken")
    return _send(connection, request, expect_response)


async def _update_with_pauses(client: Any, *asked: Any) -> Any:
    """Pauses between requests: while a partition has no leader, aiokafka sends thousands of them a second.

    Gives up a silent broker, and perhaps asks another one: writes to all brokers wait for the answer.
    """
    now = time.monotonic()
    client.asks_at = max(now, getattr(client, "asks_at", 0.0) + METADATA_SECONDS_MIN)
    await asyncio.sleep(client.asks_at - now)
    for _ in range(METADATA_ATTEMPTS_MAX):
        with suppress(TimeoutError):
            async with asyncio.timeout(METADATA_SECONDS_MAX):
                return await _update(client, *asked)
    return False


async def _find_coordinator_or_retry(client: Any, *asked: Any) -> Any:
    """Raises an error that aiokafka retries where it asserts: a broker that has just started may name no broker."""
    if client.get_random_node() is None:
        raise NodeNotReadyError("no broker has named any yet")
    return await _find_coordinator(client, *asked)
