"""Options, start and stop of all Kafka clients: addresses, security, timeouts."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import KafkaConnectionError, KafkaError, RequestTimedOutError
from aiokafka.helpers import create_ssl_context

from worker.cancelled import GivenUpError, not_by_us
from worker.kafka import patches
from worker.settings import Settings

REQUEST_TIMEOUT_MS = 15_000
RETRY_BACKOFF_MS = 100

patches.install()  # before any client is created


def client_options(settings: Settings) -> dict[str, Any]:
    """The options that consumers, producers and admin clients share."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap,
        "client_id": "partial-settlement",
        "security_protocol": settings.kafka_security_protocol,
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
        "retry_backoff_ms": RETRY_BACKOFF_MS,
    }
    if settings.kafka_security_protocol.endswith("SSL"):
        options["ssl_context"] = _ssl_context(settings.kafka_ssl_cafile)
    if settings.kafka_security_protocol.startswith("SASL"):
        password = settings.kafka_sasl_password
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options["sasl_plain_username"] = settings.kafka_sasl_username
        options["sasl_plain_password"] = password.reveal() if password else None
    return options


def _ssl_context(cafile: Path | None) -> ssl.SSLContext:
    """Reads the file for each client, since it may be replaced while we run; while it is unreadable, Kafka is away.

    A bare OSError names no file, and would be reported as an error of the database.
    """
    try:
        context: ssl.SSLContext = create_ssl_context(cafile=str(cafile) if cafile else None)
    except OSError as problem:  # includes OpenSSL's errors about the content
        raise KafkaError(f"KAFKA_SSL_CAFILE {cafile} is not a PEM file of certificates that can be read") from problem
    return context


async def start_client(client: AIOKafkaAdminClient | AIOKafkaConsumer | AIOKafkaProducer, settings: Settings) -> None:
    """Connects. Raises the reason if a broker refuses us, which aiokafka reports as a broker that is away.

    aiokafka also names several brokers in a different order each time, which would look like a new problem each time.
    """
    try:
        await client.start()
    except KafkaConnectionError as problem:
        await _raise_refusal(settings)
        raise KafkaConnectionError(f"no broker answers at {settings.bootstrap}") from problem


async def _raise_refusal(settings: Settings) -> None:
    """Raises the refusal of the first broker that refuses us, if one does."""
    options = client_options(settings)
    del options["retry_backoff_ms"]
    for host, port, _ in collect_hosts(options.pop("bootstrap_servers")):
        try:
            (await create_conn(host, port, **options)).close()
        except ssl.SSLError as problem:
            raise KafkaConnectionError(f"{host}:{port} and we do not agree on TLS: {problem}") from problem
        except (KafkaConnectionError, OSError):
            continue


@asynccontextmanager
async def admin_client(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A started admin client, closed at the end.

    A bare TimeoutError, as aiokafka raises it here, would be reported as an error of the database.
    """
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        await start_client(admin, settings)
        yield admin
    except TimeoutError as problem:
        raise RequestTimedOutError("no broker answered in time") from problem
    finally:
        await admin.close()


async def describe_cluster(settings: Settings) -> str:
    """The cluster's id and number of brokers; Kafka's protocol does not tell a client their version."""
    async with admin_client(settings) as admin:
        cluster = await admin.describe_cluster()
    number = len(cluster["brokers"])
    return f"Kafka cluster {cluster.get('cluster_id') or 'without a name'}, {number} broker{'s' * (number != 1)}"


@asynccontextmanager
async def consumer(settings: Settings, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """A started consumer, stopped at the end."""
    reading = AIOKafkaConsumer(**client_options(settings), **options)
    try:
        await start_client(reading, settings)
        yield reading
    finally:
        await stop_consumer(reading)


async def stop_consumer(reading: AIOKafkaConsumer) -> None:
    """Stops, and closes all connections: aiokafka's `stop` leaves some open if one of its fetches is to be retried.

    That `stop` also raises what ended its fetches long ago: two brokers that refuse the same offset are enough.
    A task of its that has not begun yet would end it half way: the first turn of the loop is for that.
    """
    await asyncio.sleep(0)
    with suppress(GivenUpError, KafkaError), not_by_us():
        await reading.stop()
    await reading._client.close()  # noqa: SLF001 - there is no public way
