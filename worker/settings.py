"""The settings, read from environment variables, or from files that variables ending in `_FILE` name."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_args

from worker.addresses import has_certificates, names_a_database, names_brokers
from worker.mistyped import mistyped

_SECRET_BYTES_MAX = 1 << 20
_HOURS_MAX = 24 * 365 * 10

Value = TypeVar("Value")
Default = TypeVar("Default")


class SettingsError(Exception):
    """A setting is missing or malformed. The message names it and what it takes; the program exits with 2."""


class Secret:
    """A value that is never shown by accident in a log, page or error."""

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself, for the driver that needs it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"


def _setting(read: Callable[[str], Value], default: Default, takes: str) -> Value | Default:
    """A field whose `read` parses a text or raises ValueError; `takes` ends the sentence "NAME takes …"."""
    setting: Value | Default = field(default=default, metadata={"read": read, "takes": takes})
    return setting


def _checked(is_right: Callable[[Value], bool], read: Callable[[str], Value]) -> Callable[[str], Value]:
    def checked(text: str) -> Value:
        value = read(text)
        if not is_right(value):
            raise ValueError
        return value

    return checked


def _one_of(*names: str, default: Default, read: Callable[[str], str] = str) -> str | Default:
    *others, last = names
    return _setting(_checked(lambda value: value in names, read), default, f"{', '.join(others)} or {last}")


def _matching(pattern: str) -> Callable[[str], str]:
    return _checked(lambda value: re.fullmatch(pattern, value) is not None, str)


# int() and float() accept more than we do: 1_0, +5, 1e3, nan, surrounding blanks, and the digits of every script.
def _whole(least: int, most: int) -> Callable[[str], int]:
    digits = _matching("[0-9]+")
    return _checked(lambda value: least <= value <= most, lambda text: int(digits(text)))


def _above_zero(most: float) -> Callable[[str], float]:
    decimal = _matching(r"[0-9]*\.?[0-9]+")
    return _checked(lambda value: 0 < value <= most, lambda text: float(decimal(text)))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings, each with its default and what it takes."""

    kafka_bootstrap_servers: str | None = _setting(_checked(names_brokers, str), None, "host:port, several with commas")
    kafka_security_protocol: str = _one_of("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL", default="PLAINTEXT")
    kafka_sasl_mechanism: str = _one_of("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", default="PLAIN")
    kafka_sasl_username: str | None = _setting(str, None, "a name")
    kafka_sasl_password: Secret | None = _setting(Secret, None, "a secret")
    kafka_ssl_cafile: Path | None = _setting(
        _checked(has_certificates, Path), None, "the path of a PEM file of certificates"
    )
    topic_prefix: str = _setting(
        _matching("[A-Za-z0-9._-]{0,100}"), "", "up to 100 letters, digits, dots, dashes and underscores"
    )
    topic_partitions: int = _setting(_whole(1, 1000), 12, "a whole number from 1 to 1000")
    database_url: Secret | None = _setting(
        _checked(lambda url: names_a_database(url.reveal()), Secret), None,
        "postgresql://user:password@host:port/database, a / in the password as %2F, an @ as %40, "
        "and ?sslmode= as PostgreSQL names it",
    )  # fmt: skip
    connectors_file: Path | None = _setting(Path, None, "the path of a TOML file")
    parking_hours: float = _setting(_above_zero(_HOURS_MAX), 72, "hours above 0, fractions allowed")
    expiry_lead_hours: float = _setting(_above_zero(_HOURS_MAX), 24, "hours above 0, fractions allowed")
    drain_seconds: float = _setting(_above_zero(3_600), 25, "seconds above 0, at most an hour, fractions allowed")
    ops_host: str = _setting(str, "127.0.0.1", "the address to listen on")
    ops_port: int | None = _setting(_whole(0, 65_535), None, "a port from 0 (a free one) to 65535")
    ops_token: Secret | None = _setting(Secret, None, "a secret")
    ops_view_token: Secret | None = _setting(Secret, None, "a secret")
    log_level: str = _one_of("debug", "info", "warning", "error", default="info", read=str.lower)
    log_format: str | None = _one_of("json", "text", default=None, read=str.lower)
    settlement_home: Path = _setting(Path, Path("~/.settlement"), "the folder of the embedded stack")

    @property
    def embedded(self) -> bool:
        """Whether the embedded local stack is used: neither Kafka nor a database is named."""
        return self.kafka_bootstrap_servers is None and self.database_url is None

    @property
    def home(self) -> Path:
        """The folder of the embedded stack."""
        try:
            return self.settlement_home.expanduser().absolute()
        except RuntimeError:  # ~name of a user that this machine does not know
            raise SettingsError(_refusal("SETTLEMENT_HOME", str(self.settlement_home))) from None

    @property
    def bootstrap(self) -> str:
        """Kafka's bootstrap servers; raises if they are not set."""
        if self.kafka_bootstrap_servers is None:
            raise SettingsError(_missing("KAFKA_BOOTSTRAP_SERVERS"))
        return self.kafka_bootstrap_servers

    @property
    def database(self) -> str:
        """The database's URL with its password, for the driver only; raises if it is not set."""
        if self.database_url is None:
            raise SettingsError(_missing("DATABASE_URL"))
        return self.database_url.reveal()

    def require_both(self) -> None:
        """Raises a `SettingsError` that names Kafka or the database, whichever is missing."""
        _ = self.bootstrap, self.database

    @property
    def parking_ms(self) -> int:
        """How long a fact waits for its order."""
        return round(self.parking_hours * 3_600_000)

    @property
    def expiry_lead_ms(self) -> int:
        """How long before its expiry an authorization is reported as expiring."""
        return round(self.expiry_lead_hours * 3_600_000)

    def topic(self, name: str) -> str:
        """The name in Kafka of a topic or a consumer group."""
        return self.topic_prefix + name


NAMES = {one.name.upper(): one for one in fields(Settings)}


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """Reads the settings; raises `SettingsError`."""
    environment = os.environ if environment is None else environment
    if found := mistyped(environment, NAMES):
        raise SettingsError("{} is not one of our settings; did you mean {}?".format(*found))
    given = {name: text for name in NAMES if (text := _given(name, environment)) is not None}
    settings = Settings(**{NAMES[name].name: _read(name, text) for name, text in given.items()})
    _refuse_half_credentials(settings)
    return settings


def takes(name: str) -> str:
    """The end of the sentence "NAME takes …"."""
    return str(NAMES[name].metadata["takes"])


def _read(name: str, text: str) -> Any:
    try:
        return NAMES[name].metadata["read"](text)
    except ValueError:
        raise SettingsError(_refusal(name, text)) from None


def _refusal(name: str, text: str) -> str:
    # What precedes an @ may be a password, in any setting.
    secret = Secret in get_args(NAMES[name].type) or "@" in text
    return f"{name} takes {takes(name)}" + ("" if secret else f", not {text!r}")


def _given(name: str, environment: Mapping[str, str]) -> str | None:
    direct, file = environment.get(name), environment.get(f"{name}_FILE")
    if direct and file:
        raise SettingsError(f"{name} and {name}_FILE are both set; give one of them")
    return _content(f"{name}_FILE", file) if file else direct or None


def _content(name: str, path: str) -> str:
    """Reads the file. An error does not show the path, as it may be the secret itself, given by mistake."""
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


def _missing(name: str) -> str:
    return f"{name} is missing: name your own Kafka and your own PostgreSQL, or neither for the local stack"
