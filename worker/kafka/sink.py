"""Writes records in order to the given partitions, and reports when Kafka has acknowledged them."""

import asyncio
import math
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, zip_longest
from typing import Any, Self

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError, NodeNotReadyError
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.structs import RecordMetadata

from worker.kafka.connecting import client_options, start_client
from worker.kafka.packing import Batch, join_small, pack
from worker.kafka.records import Outgoing, Place
from worker.settings import Settings

# How long a leader waits for its replicas. It answers all writes of one request together, and then the next request.
REPLICAS_SECONDS_MAX = 2.0
STOP_SECONDS_MAX = 0.5
PUBLISH_SECONDS_MAX = 30.0

Ack = asyncio.Future[RecordMetadata]


class Sink:
    """An idempotent producer with `acks=all`; the partition of each record is given.

    While `may_write` returns False, batches stay queued. `is_available` says whether Kafka can serve a partition:
    batches for others stay queued too. Without it they, or those behind them, fail in the end.
    """

    def __init__(
        self, settings: Settings, may_write: Callable[[], bool] = lambda: True, *,
        is_available: Callable[[Place], bool] | None = None,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._may_write = may_write
        self._is_available = is_available
        self._producer: AIOKafkaProducer | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Connects; closes everything if that fails."""
        producer = AIOKafkaProducer(**client_options(self._settings), acks="all", enable_idempotence=True)
        producer._sender._request_timeout_ms = round(1000 * REPLICAS_SECONDS_MAX)  # noqa: SLF001 - no public way
        _write_only_while(producer, lambda: self._producer is producer and self._may_write())
        try:
            await start_client(producer, self._settings)
        except BaseException:
            await _stop_now(producer)
            raise
        if self._is_available is not None:
            producer._message_accumulator._batch_ttl = math.inf  # noqa: SLF001 - there is no public way
        self._producer = producer

    async def stop(self) -> None:
        """Stops without a flush, and writes nothing more: what was not acknowledged is still in the outbox."""
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await _stop_now(producer)

    async def renew(self) -> None:
        """Begins with a new producer id: after it refused a batch, the broker accepts no later sequence number."""
        await self.stop()
        await self.start()

    async def publish(self, records: Iterable[Outgoing]) -> None:
        """Returns once Kafka has acknowledged all records. Raises if that takes too long; some may be written then."""
        try:
            async with asyncio.timeout(PUBLISH_SECONDS_MAX):
                await asyncio.gather(*(ack for _, _, ack in await self.queue(pack(records))))
        except TimeoutError:  # aiokafka repeats for ever what too few replicas are in sync for
            raise KafkaTimeoutError from None

    async def queue(self, batches: Sequence[Batch]) -> list[tuple[Place, int, Ack]]:
        """Queues batches, in order within each place; returns place, number of records and acknowledgement of each.

        It waits while an earlier batch of the same place is still queued, so places take turns.
        """
        by_place: dict[Place, list[Batch]] = {}
        for batch in batches:
            by_place.setdefault(batch.place, []).append(batch)
        return [
            (batch.place, batch.record_count(), await self._queue_one(batch))
            for batch in chain.from_iterable(zip_longest(*map(join_small, by_place.values())))
            if batch is not None
        ]

    async def _queue_one(self, batch: Batch) -> Ack:
        """Queues a batch once the one before it in its place has left the queue; raises if that takes too long.

        A partition that is available at the end of the first timeout may have become so just now.
        """
        producer = self._producer
        if producer is None:
            raise RuntimeError("the sink was not started")
        partition = TopicPartition(self._settings.topic(batch.place[0]), batch.place[1])
        was_available = False
        while True:
            try:
                ack: Ack = await producer.send_batch(batch, partition.topic, partition=partition.partition)
            except KafkaTimeoutError:
                if self._is_available is None or (was_available and self._is_available(batch.place)):
                    raise
                was_available = self._is_available(batch.place)
            else:
                ack.add_done_callback(_look_at)
                return ack


def _look_at(ack: Ack) -> None:
    """Else a failed one is reported by the event loop if the task that would await it has ended before."""
    if not ack.cancelled():
        ack.exception()


def _write_only_while(producer: AIOKafkaProducer, may_write: Callable[[], bool]) -> None:
    """Asks `may_write` right before the bytes of a batch are written: connecting may have taken longer than the lease.

    A batch that may not be written is queued again in its place, under its sequence number, and retried.
    """
    client, send = producer.client, producer.client.send

    async def send_while_allowed(node_id: int, request: Any, **options: Any) -> Any:
        if isinstance(request, ProduceRequest) and not (
            may_write() and await client.ready(node_id, **options) and may_write()
        ):
            raise NodeNotReadyError(f"broker {node_id} is not connected, or nothing may be written to it now")
        return await send(node_id, request, **options)

    client.send = send_while_allowed


async def _stop_now(producer: AIOKafkaProducer) -> None:
    """Stops without waiting for a flush: aiokafka's `stop` flushes first, which never ends while the broker is away."""
    try:
        async with asyncio.timeout(STOP_SECONDS_MAX):
            await producer.stop()
    except TimeoutError:
        task = producer._sender.sender_task  # noqa: SLF001 - there is no public way to end it without a flush
        if task is not None:
            task.cancel()  # first, else it would connect again for a retry
        await producer.client.close()
        while task is not None and not task.done():
            await asyncio.wait([task], timeout=STOP_SECONDS_MAX)
            task.cancel()  # what it waits for in turn: a request that is still connecting
        # Else the garbage collector finds the flush still waiting, and reports it. When a batch fails, aiokafka looks
        # for it among those under way, even if it was queued to be sent once more.
        waiting = producer._message_accumulator  # noqa: SLF001
        waiting._pending_batches.update(*waiting._batches.values())  # noqa: SLF001
        waiting.fail_all(KafkaConnectionError("the producer was stopped"))
        for batch in waiting._pending_batches:  # noqa: SLF001 - whoever waited for it, or behind it, may be gone
            for failed in (batch.future, batch._drain_waiter):  # noqa: SLF001
                failed.exception()
