"""A credential is named in the file and read when it is needed; only the reply to a request keeps it."""

import os
from pathlib import Path

from msgspec import Struct

_BYTES_MAX = 64 * 1024


class SecretError(Exception):
    """A credential cannot be had now; the message names where it was looked for, never what it is."""


class Secret(Struct, frozen=True):
    """`env:NAME` or `file:PATH`. Each `read` looks again, so a rotated file is believed at once."""

    source: str

    def read(self) -> str:
        """The credential as it is now; `SecretError` where it is not usable."""
        kind, _, place = self.source.partition(":")
        found = os.environ.get(place) if kind == "env" else _content(place)
        if not found or not found.isascii() or not found.isprintable():
            raise SecretError(f"{self.source} holds no usable credential")
        return found


def _content(path: str) -> str | None:
    try:
        with Path(path).open("rb") as file:
            return file.read(_BYTES_MAX).decode().strip()
    except (OSError, UnicodeDecodeError):
        return None
