"""Where nobody named a Kafka or a database, the embedded local stack stands in for both."""

from pydantic import SecretStr

from worker.settings import Settings, SettingsError


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
    found = environment(settings.settlement_home)
    return settings.model_copy(
        update={"kafka_bootstrap_servers": found.bootstrap_servers, "database_url": SecretStr(found.database_url)}
    )
