"""Parses the connectors file: each connector's abilities and limits, and each merchant's switches."""

import math
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from msgspec import Struct

from worker.connector.secret import Secret
from worker.domain.terms import Capability, Mode

FILE_BYTES_MAX = 4 << 20
DEFAULT_MERCHANT = "default"

Table = dict[str, Any]


class ConnectorsFileError(Exception):
    """The file breaks a rule; the message names table, key and rule."""


class Connector(Struct, frozen=True, kw_only=True):
    """One table `[connectors.<name>]`."""

    name: str
    url: str
    protocol: Literal["ppp", "legacy"]
    mode: Mode
    partial_split: bool = False
    app_key: Secret | None = None
    app_token: Secret | None = None
    provider_headers: bool = False
    cancel_unit: Literal["minor", "major"] = "minor"
    timeout_seconds: float = 20.0
    max_in_flight: int = 64
    max_per_second: float | None = None
    retry_seconds: tuple[float, ...] = (1.0, 5.0, 30.0, 120.0, 600.0, 3600.0)
    horizon_hours: float = 24.0
    probe_seconds: float = 60.0
    breaker_failures: int = 10
    breaker_seconds: float = 30.0
    decline_after_unknown: Literal["suspect", "declined"] = "suspect"
    test_suite: bool = False

    @property
    def legacy(self) -> bool:
        """Whether replies may lack ids and echoes."""
        return self.protocol == "legacy"

    @property
    def capability(self) -> Capability:
        """What the ledger has to know of this connector."""
        return Capability(self.mode, self.legacy, self.partial_split)


class Merchant(Struct, frozen=True, kw_only=True):
    """One table `[merchants.<name>]`: the switches of a merchant."""

    partial_settlement: bool = True
    returns: Literal["at_once", "after_invoiced"] = "at_once"
    refund_order: Literal["lowest_first", "card_first"] = "lowest_first"


class ConnectorsFile(Struct, frozen=True):
    """The content of a valid file."""

    connectors: dict[str, Connector]
    merchants: dict[str, Merchant]

    def capability(self, name: str) -> Capability | None:
        """None: the file does not name this connector."""
        connector = self.connectors.get(name)
        return connector.capability if connector else None

    def merchant(self, name: str) -> Merchant:
        """The merchant's own table, else the default one, else the defaults of the contract."""
        return self.merchants.get(name) or self.merchants.get(DEFAULT_MERCHANT) or Merchant()


def load(path: Path) -> ConnectorsFile:
    """Reads and parses the file; raises `ConnectorsFileError`, which names it."""
    try:
        return parse(_text(path))
    except ConnectorsFileError as problem:
        raise ConnectorsFileError(f"{path}: {problem}") from None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
        if len(content) > FILE_BYTES_MAX:
            raise ConnectorsFileError(f"the file is larger than {FILE_BYTES_MAX:,} bytes")
        return content.decode()
    except OSError as problem:
        why = problem.strerror or str(problem)
    except UnicodeDecodeError:
        why = "it is not in UTF-8"
    raise ConnectorsFileError(f"the file cannot be read: {why}")


def parse(text: str) -> ConnectorsFile:
    """Parses the text of a file; raises `ConnectorsFileError`."""
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as problem:
        raise ConnectorsFileError(f"this is not TOML: {problem}") from None
    for name in content:
        if name not in ("connectors", "merchants"):
            raise ConnectorsFileError(
                f"table [{name}] is unknown: only [connectors.<name>] and [merchants.<name>] are allowed"
            )
    tables, switches = (_tables(content, kind) for kind in ("connectors", "merchants"))
    return ConnectorsFile(
        {name: _connector(name, table) for name, table in tables.items()},
        {name: Merchant(**_checked(f"merchants.{name}", table, _MERCHANT)) for name, table in switches.items()},
    )


def _tables(content: Table, kind: str) -> dict[str, Table]:
    tables = content.get(kind, {})
    if not isinstance(tables, dict):
        raise ConnectorsFileError(f"{kind} must be tables [{kind}.<name>]")
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ConnectorsFileError(f"{kind}.{name} must be a table [{kind}.{name}]")
        if not name:
            raise ConnectorsFileError(f"[{kind}.{name!r}] needs a name")
    return tables


def _connector(name: str, table: Table) -> Connector:
    table_name = f"connectors.{name}"
    given = _checked(table_name, table, _CONNECTOR)
    for key in ("url", "protocol", "mode"):
        if key not in given:
            raise ConnectorsFileError(f"[{table_name}] {key} is missing: it must be {_CONNECTOR[key][1]}")
    return Connector(name=name, **given)


Check = tuple[Callable[[Any], Any], str]  # returns the value, or None if it breaks the rule; the rule in words


def _checked(table_name: str, table: Table, checks: Mapping[str, Check]) -> Table:
    given = {}
    for key, value in table.items():
        if key not in checks:
            raise ConnectorsFileError(f"[{table_name}] key {key} is unknown: it takes {', '.join(checks)}")
        check, rule = checks[key]
        given[key] = check(value)
        if given[key] is None:
            shown = "the present value" if key in _NOT_SHOWN else repr(value)
            raise ConnectorsFileError(f"[{table_name}] {key} must be {rule}, not {shown}")
    return given


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _count(value: Any) -> int | None:
    good = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1_000_000
    return value if good else None


def _positive(most: float, least: float = 0.0) -> Callable[[Any], float | None]:
    def check(value: Any) -> float | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value) if math.isfinite(value) and 0 < value <= most and value >= least else None

    return check


def _schedule(value: Any) -> tuple[float, ...] | None:
    if not isinstance(value, list) or not value or len(value) > 1000:
        return None
    check = _positive(7 * 86_400)
    seconds = tuple(good for one in value if (good := check(one)) is not None)
    return seconds if len(seconds) == len(value) else None


def _secret(value: Any) -> Secret | None:
    if not isinstance(value, str):
        return None
    kind, _, location = value.partition(":")
    return Secret(value) if kind in ("env", "file") and location and location.isprintable() else None


def _url(value: Any) -> str | None:
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value:
        return None
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return None
    good = parts.scheme in ("http", "https") and parts.hostname and port != 0 and "@" not in parts.netloc
    return value.rstrip("/") if good and "?" not in value and "#" not in value else None


def _one_of(*words: str) -> Check:
    def check(value: Any) -> str | None:
        return value if isinstance(value, str) and value in words else None

    return check, " or ".join(f'"{word}"' for word in words)


_NOT_SHOWN = ("url", "app_key", "app_token")  # it may contain a credential
_YES_OR_NO: Check = (_flag, "true or false")
_CREDENTIAL: Check = (_secret, "env:NAME or file:PATH")

_CONNECTOR: dict[str, Check] = {
    "url": (_url, "an http or https address without credentials, query or fragment"),
    "protocol": _one_of("ppp", "legacy"),
    "mode": _one_of("PARTIAL", "TOTAL", "HOLD"),
    "partial_split": _YES_OR_NO,
    "app_key": _CREDENTIAL,
    "app_token": _CREDENTIAL,
    "provider_headers": _YES_OR_NO,
    "cancel_unit": _one_of("minor", "major"),
    "timeout_seconds": (_positive(3_600), "seconds above 0, at most 3600"),
    "max_in_flight": (_count, "a whole number from 1 to 1000000"),
    "max_per_second": (_positive(1_000_000, least=0.0001), "a number from 0.0001 to 1000000"),
    "retry_seconds": (_schedule, "a list of seconds, each above 0 and at most a week"),
    "horizon_hours": (_positive(87_600), "hours above 0, at most ten years"),
    "probe_seconds": (_positive(86_400), "seconds above 0, at most a day"),
    "breaker_failures": (_count, "a whole number from 1 to 1000000"),
    "breaker_seconds": (_positive(86_400), "seconds above 0, at most a day"),
    "decline_after_unknown": _one_of("suspect", "declined"),
    "test_suite": _YES_OR_NO,
}  # fmt: skip

_MERCHANT: dict[str, Check] = {
    "partial_settlement": _YES_OR_NO,
    "returns": _one_of("at_once", "after_invoiced"),
    "refund_order": _one_of("lowest_first", "card_first"),
}  # fmt: skip
