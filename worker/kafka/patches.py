"""What aiokafka does otherwise here, where it offers no way to say so: decision 37 lists by which tests it is held."""

import asyncio
import time
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError

from worker.kafka import batches

LEADERS_ASKED_SECONDS_MIN = 0.1

_send = AIOKafkaConnection.send
_update = AIOKafkaClient._metadata_update  # noqa: SLF001


def install() -> None:
    """Before there is any client, Faust's included."""
    AIOKafkaConnection.send = _send_or_broken
    AIOKafkaClient._metadata_update = _update_with_pauses  # noqa: SLF001
    batches.install()


def _send_or_broken(connection: Any, request: Any, expect_response: bool = True) -> Any:
    """A broken connection is noticed a moment later; whoever writes to it until then gets uvloop's RuntimeError."""
    writer = connection._writer  # noqa: SLF001
    if writer is not None and writer.is_closing():
        connection.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"the connection to {connection.host}:{connection.port} is broken")
    return _send(connection, request, expect_response)


async def _update_with_pauses(client: Any, *asked: Any) -> Any:
    """While a partition that is written to has no leader, aiokafka asks who leads it, thousands of times a second."""
    now = time.monotonic()
    client.asks_at = max(now, getattr(client, "asks_at", 0.0) + LEADERS_ASKED_SECONDS_MIN)
    await asyncio.sleep(client.asks_at - now)
    return await _update(client, *asked)
