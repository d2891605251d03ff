"""What every client of ours tells aiokafka about the way to the broker."""

from typing import Any

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
