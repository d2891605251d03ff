"""Every setting of the contract, and how long draining may take: from the environment, or a file named by `_FILE`."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from worker.addresses import has_certificates, names_a_database, names_brokers
from worker.mistyped import mistyped


def _written(as_: str) -> BeforeValidator:
    """Python's own idea of a number is wider: 1_0, +5, 1e3, nan, blanks around it, and the digits of every script."""

    def check(value: object) -> object:
        if isinstance(value, str) and not re.fullmatch(as_, value):
            raise ValueError
        return value

    return BeforeValidator(check)


_WHOLE = _written(as_="[0-9]+")
_DECIMAL = _written(as_=r"[0-9]*\.?[0-9]+")

Protocols = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanisms = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
Levels = Literal["debug", "info", "warning", "error"]
Whole = Annotated[int, _WHOLE]
Hours = Annotated[float, _DECIMAL, Field(gt=0, le=24 * 365 * 10)]
Seconds = Annotated[float, _DECIMAL, Field(gt=0, le=3_600)]

_SECRET_BYTES_MAX = 1 << 20


class SettingsError(Exception):
    """One line that names the setting and what it takes. The program ends with 2."""


class Settings(BaseSettings):
    """A field's description ends the sentence "NAME takes …"."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True)

    kafka_bootstrap_servers: str | None = Field(None, description="host:port, several with commas")
    kafka_security_protocol: Protocols = Field("PLAINTEXT", description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL")
    kafka_sasl_mechanism: Mechanisms = Field("PLAIN", description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
    kafka_sasl_username: str | None = Field(None, description="a name")
    kafka_sasl_password: SecretStr | None = Field(None, description="a secret")
    kafka_ssl_cafile: Path | None = Field(None, description="the path of a PEM file of certificates")
    topic_prefix: str = Field(
        "", pattern=r"^[A-Za-z0-9._-]{0,100}$", description="up to 100 letters, digits, dots, dashes and underscores"
    )
    topic_partitions: Whole = Field(12, ge=1, le=1000, description="a whole number from 1 to 1000")
    database_url: SecretStr | None = Field(
        None,
        description="postgresql://user:password@host:port/database, a / in the password as %2F, an @ as %40, "
        "and ?sslmode= as PostgreSQL names it",
    )
    connectors_file: Path | None = Field(None, description="the path of a TOML file")
    parking_hours: Hours = Field(72, description="hours above 0, fractions allowed")
    expiry_lead_hours: Hours = Field(24, description="hours above 0, fractions allowed")
    drain_seconds: Seconds = Field(25, description="seconds above 0, at most an hour, fractions allowed")
    ops_host: str = Field("127.0.0.1", description="the address to listen on")
    ops_port: Whole | None = Field(None, ge=0, le=65535, description="a port from 0 (a free one) to 65535")
    ops_token: SecretStr | None = Field(None, description="a secret")
    ops_view_token: SecretStr | None = Field(None, description="a secret")
    log_level: Levels = Field("info", description="debug, info, warning or error")
    log_format: Literal["json", "text"] | None = Field(None, description="json or text")
    settlement_home: Path = Field(
        Path("~/.settlement"), description="the folder of the embedded stack", validate_default=True
    )

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _case_does_not_matter(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("kafka_bootstrap_servers")
    @classmethod
    def _are_brokers(cls, value: str | None) -> str | None:
        if value is not None and not names_brokers(value):
            raise ValueError
        return value

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not names_a_database(value.get_secret_value()):
            raise ValueError
        return value

    @field_validator("kafka_ssl_cafile")
    @classmethod
    def _are_certificates(cls, value: Path | None) -> Path | None:
        if value is not None and not has_certificates(value):
            raise ValueError
        return value

    @field_validator("settlement_home")
    @classmethod
    def _without_tilde(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Values come from `load` alone, which has read the environment and the files."""
        return (init_settings,)

    @property
    def embedded(self) -> bool:
        """Neither Kafka nor database named: the local stack is meant."""
        return self.kafka_bootstrap_servers is None and self.database_url is None

    @property
    def bootstrap(self) -> str:
        """Where Kafka is."""
        if self.kafka_bootstrap_servers is None:
            raise SettingsError(_missing("KAFKA_BOOTSTRAP_SERVERS"))
        return self.kafka_bootstrap_servers

    @property
    def database(self) -> str:
        """With its password: for the driver only."""
        if self.database_url is None:
            raise SettingsError(_missing("DATABASE_URL"))
        return self.database_url.get_secret_value()

    def require_both(self) -> None:
        """A worker needs Kafka and the database: a `SettingsError` names the one that is missing."""
        _ = self.bootstrap, self.database

    @property
    def parking_ms(self) -> int:
        """How long a fact waits for its order."""
        return round(self.parking_hours * 3_600_000)

    @property
    def expiry_lead_ms(self) -> int:
        """How long before its end an authorization is said to expire."""
        return round(self.expiry_lead_hours * 3_600_000)

    def topic(self, name: str) -> str:
        """A topic's or a group's name in Kafka."""
        return self.topic_prefix + name


NAMES = frozenset(name.upper() for name in Settings.model_fields)


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process, or a `SettingsError`."""
    environment = os.environ if environment is None else environment
    if found := mistyped(environment, NAMES):
        raise SettingsError("{} is not one of our settings; did you mean {}?".format(*found))
    given = {name.lower(): value for name in NAMES if (value := _value(name, environment)) is not None}
    try:
        settings = Settings.model_validate(given)
    except ValidationError as problem:
        raise SettingsError(_explain(problem, given)) from None
    _refuse_half_credentials(settings)
    return settings


def _value(name: str, environment: Mapping[str, str]) -> str | None:
    direct, file = environment.get(name), environment.get(f"{name}_FILE")
    if direct and file:
        raise SettingsError(f"{name} and {name}_FILE are both set; give one of them")
    return _content(f"{name}_FILE", file) if file else direct or None


def _content(name: str, path: str) -> str:
    """Where it cannot be read, nothing of what was given is shown: it may be the secret itself."""
    try:
        with Path(path).open("rb") as file:
            return file.read(_SECRET_BYTES_MAX).decode().rstrip("\r\n")
    except OSError as problem:
        why = problem.strerror or "it cannot be opened"
    except UnicodeDecodeError:
        why = "it is not in UTF-8"
    raise SettingsError(f"{name} takes the path of a text file that can be read: {why}")


def _refuse_half_credentials(settings: Settings) -> None:
    if settings.kafka_security_protocol.startswith("SASL"):
        for name in ("kafka_sasl_username", "kafka_sasl_password"):
            if getattr(settings, name) is None:
                raise SettingsError(f"{name.upper()} is missing: KAFKA_SECURITY_PROTOCOL asks for it")


def _explain(problem: ValidationError, given: Mapping[str, str]) -> str:
    field = str(problem.errors(include_input=False, include_context=False)[0]["loc"][0])
    shape = Settings.model_fields[field]
    value = given.get(field, "")
    secret = "SecretStr" in str(shape.annotation) or "@" in value  # a credential may stand before the @
    return f"{field.upper()} takes {shape.description}" + ("" if secret else f", not {value!r}")


def _missing(name: str) -> str:
    return f"{name} is missing: name your own Kafka and your own PostgreSQL, or neither for the local stack"
