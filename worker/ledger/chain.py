"""The chain of entries: each hash covers the one before it, so that nobody rewrites history unseen."""

from collections.abc import Sequence
from hashlib import sha256


def link(before: bytes, chain: int, place: int, content: Sequence[object]) -> bytes:
    """The hash of an entry that follows another; fields are separated by a character that no id can hold."""
    text = "\x00".join((str(chain), str(place), *map(str, content)))
    return sha256(before + text.encode()).digest()
