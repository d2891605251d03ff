"""Credentials: named in the connectors file, read for each call, and kept only until its reply is handled."""

import os
from pathlib import Path

from msgspec import Struct

_BYTES_MAX = 64 * 1024


class SecretError(Exception):
    """A credential cannot be read; the message names its source, never its content."""


class Secret(Struct, frozen=True):
    """`env:NAME` or `file:PATH`, read again each time, so that a rotated file is used at once."""

    source: str

    def read(self) -> str:
        """The credential as it is now; raises `SecretError`."""
        kind, _, location = self.source.partition(":")
        secret = os.environ.get(location) if kind == "env" else _content(location)
        if not secret or not secret.isascii() or not secret.isprintable():
            raise SecretError(f"{self.source} holds no usable credential")
        return secret


def _content(path: str) -> str | None:
    try:
        with Path(path).open("rb") as file:
            return file.read(_BYTES_MAX).decode().strip()
    except (OSError, UnicodeDecodeError):
        return None
