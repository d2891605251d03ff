"""A producer that publishes in Kafka's transactions, as an ERP may."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer

from worker.kafka.connecting import client_options
from worker.settings import Settings


@asynccontextmanager
async def transactional(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    """Started inside, stopped afterwards; every transaction begins and ends by the caller's word."""
    producer = AIOKafkaProducer(**client_options(settings), transactional_id=f"{settings.topic_prefix}erp")
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()
