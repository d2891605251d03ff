"""Hashes of the chained entries: each covers the one before it, so that a rewritten entry is noticed."""

from collections.abc import Sequence
from hashlib import sha256


def link(before: bytes, chain: int, place: int, content: Sequence[object]) -> bytes:
    """The hash of the entry after `before`; fields are separated by NUL, which no id can hold."""
    text = "\x00".join((str(chain), str(place), *map(str, content)))
    return sha256(before + text.encode()).digest()
