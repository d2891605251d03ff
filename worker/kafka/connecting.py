"""How all our clients of Kafka connect: addresses, security, timeouts."""

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import KafkaConnectionError, KafkaError, NodeNotReadyError, RequestTimedOutError
from aiokafka.helpers import create_ssl_context

from worker.cancelled import GivenUpError, not_by_us
from worker.kafka import patches
from worker.settings import Settings

REQUEST_TIMEOUT_MS = 15_000
RETRY_BACKOFF_MS = 100

patches.install()  # before there is any client


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
        options["ssl_context"] = _trusting(settings.kafka_ssl_cafile)
    if settings.kafka_security_protocol.startswith("SASL"):
        password = settings.kafka_sasl_password
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options["sasl_plain_username"] = settings.kafka_sasl_username
        options["sasl_plain_password"] = password.reveal() if password else None
    return options


def _trusting(cafile: Path | None) -> ssl.SSLContext:
    """Read for each client: the file may be replaced while we run; until it can be read again, Kafka counts as away.

    A bare OSError names no file, and could come from anywhere: the database would be blamed for it.
    """
    try:
        context: ssl.SSLContext = create_ssl_context(cafile=str(cafile) if cafile else None)
    except OSError as problem:  # so is what OpenSSL says of its content
        raise KafkaError(f"KAFKA_SSL_CAFILE {cafile} is not a PEM file of certificates that can be read") from problem
    return context


async def start_client(client: AIOKafkaAdminClient | AIOKafkaConsumer | AIOKafkaProducer, settings: Settings) -> None:
    """Connects; where a broker refuses us, says why: aiokafka reports it as one that is away.

    aiokafka also names several brokers in a different order each time, which would look like a new problem each time.
    """
    try:
        await client.start()
    except KafkaConnectionError as problem:
        await _refused(settings)
        raise KafkaConnectionError(f"no broker answers at {settings.bootstrap}") from problem


async def _refused(settings: Settings) -> None:
    """Raises what the first broker that answers has against us."""
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
    """A client that asks about topics and groups; it is closed at the end, also where it could not start.

    A bare TimeoutError, as aiokafka raises it here, could be anybody's: the database would be blamed for it.
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
    """Which cluster answers; Kafka's protocol does not tell a client the version of the brokers."""
    async with admin_client(settings) as admin:
        found = await admin.describe_cluster()
    number = len(found["brokers"])
    return f"Kafka cluster {found.get('cluster_id') or 'without a name'}, {number} broker{'s' * (number != 1)}"


@asynccontextmanager
async def consumer(settings: Settings, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """A client that reads; it is stopped at the end, also where it could not start."""
    reading = AIOKafkaConsumer(**client_options(settings), **options)
    try:
        await start_client(reading, settings)
        with no_brokers_as_not_ready():
            yield reading
    finally:
        await stop_consumer(reading)


@contextmanager
def no_brokers_as_not_ready() -> Iterator[None]:
    """A broker that has just started may name no broker, not even itself; aiokafka takes that for our defect."""
    try:
        yield
    except AssertionError as problem:
        if "bootstrap" not in str(problem):
            raise
        raise NodeNotReadyError("no broker has named any yet") from problem


async def stop_consumer(reading: AIOKafkaConsumer) -> None:
    """Reads nothing more. aiokafka gives up half way, with connections open, if one of its fetches is to be repeated.

    And it raises whatever ended its fetches long ago: two brokers that refuse the same offset are enough for that.
    """
    with suppress(GivenUpError, KafkaError), not_by_us():
        await reading.stop()
    await reading._client.close()  # noqa: SLF001 - there is no public way to close what it left
