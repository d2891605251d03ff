"""What every client of ours tells aiokafka about the way to the broker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import RequestTimedOutError
from aiokafka.helpers import create_ssl_context

from worker.kafka import batches
from worker.settings import Settings

REQUEST_TIMEOUT_MS = 15_000
RETRY_BACKOFF_MS = 100

batches.install()  # before there is any client


def client_options(settings: Settings) -> dict[str, Any]:
    """Address, security, and how long to wait; for consumer, producer and admin alike."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap,
        "client_id": "partial-settlement",
        "security_protocol": settings.kafka_security_protocol,
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
        "retry_backoff_ms": RETRY_BACKOFF_MS,
    }
    if settings.kafka_security_protocol.endswith("SSL"):
        cafile = settings.kafka_ssl_cafile
        options["ssl_context"] = create_ssl_context(cafile=str(cafile) if cafile else None)
    if settings.kafka_security_protocol.startswith("SASL"):
        password = settings.kafka_sasl_password
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options["sasl_plain_username"] = settings.kafka_sasl_username
        options["sasl_plain_password"] = password.get_secret_value() if password else None
    return options


@asynccontextmanager
async def administrator(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client that asks about topics and groups; it is closed at the end, also where it could not start.

    A bare TimeoutError, as aiokafka raises it here, could be anybody's: the database would be blamed for it.
    """
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        await admin.start()
        yield admin
    except TimeoutError as problem:
        raise RequestTimedOutError("no broker answered in time") from problem
    finally:
        await admin.close()


@asynccontextmanager
async def consumer(settings: Settings, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """A client that reads; it is stopped at the end, also where it could not start."""
    reading = AIOKafkaConsumer(**client_options(settings), **options)
    try:
        await reading.start()
        yield reading
    finally:
        await reading.stop()
