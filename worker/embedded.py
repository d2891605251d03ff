"""Where nobody named a Kafka or a database, the embedded local stack stands in for both."""

from dataclasses import replace

from worker.settings import Secret, Settings, SettingsError


def with_embedded_stack(settings: Settings) -> Settings:
    """The same settings pointed at the local stack, where neither Kafka nor database is named."""
    if not settings.embedded:
        return settings
    try:
        from worker.stack import environment  # noqa: PLC0415 - nobody with a stack of their own needs this room
    except ModuleNotFoundError:
        raise SettingsError(
            "KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL are missing; partial-settlement[local] brings a local stack"
        ) from None
    found = environment(settings.home)
    return replace(settings, kafka_bootstrap_servers=found.bootstrap_servers, database_url=Secret(found.database_url))
