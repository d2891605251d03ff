"""A producer that publishes in Kafka's transactions, as an ERP may."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer

from worker.kafka.connecting import client_options
from worker.settings import Settings


@asynccontextmanager
async def transactional(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    """Starts a producer and stops it at the end; the caller begins and ends every transaction."""
    producer = AIOKafkaProducer(**client_options(settings), transactional_id=f"{settings.topic_prefix}erp")
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()
