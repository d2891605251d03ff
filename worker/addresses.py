"""Checks addresses as their drivers read them: what would be misread is refused before anybody connects."""

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

PORT_MAX = 65_535
SSL_MODES = frozenset(("disable", "allow", "prefer", "require", "verify-ca", "verify-full"))

_PORT = "([0-9]{1,5})"
_HOST = r"(?:\[[^\s\[\]]+\]|[^\s:/@\[\]]+)"  # an IPv6 address stands in brackets
_BROKER = re.compile(f"{_HOST}:{_PORT}")
# Also the folder of a socket, and what leaves the host or the port to PostgreSQL's custom.
_SERVER = re.compile(f"/.*|{_HOST}(?::{_PORT}?)?|:{_PORT}")


def names_brokers(text: str) -> bool:
    """host:port, several with commas."""
    return all(_is(_BROKER, one.strip()) for one in text.split(","))


def names_a_database(text: str) -> bool:
    """A URL as asyncpg reads it.

    It ends a password at the first `/`, `?`, `#` or `@` that is not escaped, and takes the rest for a port, a host or
    a database.
    """
    try:
        parts = urlsplit(text)
        query = {name: given[-1] for name, given in parse_qs(parts.query, strict_parsing=bool(parts.query)).items()}
    except ValueError:
        return False
    hosts = parts.netloc.partition("@")[2] if "@" in parts.netloc else parts.netloc
    return (
        text.startswith(("postgres://", "postgresql://"))
        and "@" not in hosts + parts.path
        and "#" not in text
        and all(_are_servers(one) for one in (hosts, query.get("host", "")))
        and all(_is_port(one) for one in query.get("port", "1").split(","))
        and query.get("sslmode", "disable").replace("_", "-") in SSL_MODES
    )


def has_certificates(path: Path) -> bool:
    """A PEM file that can be read, with one certificate at least."""
    import ssl  # noqa: PLC0415 - whoever talks to Kafka in the clear waits for no OpenSSL

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=path)
    except OSError:  # so is what OpenSSL says of its content
        return False
    return context.cert_store_stats()["x509"] > 0


def _are_servers(text: str) -> bool:
    return not text or all(_is(_SERVER, one) for one in text.split(","))


def _is(pattern: re.Pattern[str], text: str) -> bool:
    found = pattern.fullmatch(text)
    return found is not None and all(_is_port(one) for one in found.groups() if one is not None)


def _is_port(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,5}", text) is not None and 0 < int(text) <= PORT_MAX
