"""Ids are derived, never random: the same decision gives the same ids, after a crash and in a replay."""

from hashlib import blake2b

_SEPARATOR = "\x1f"


def _hex(parts: tuple[str, ...], size: int) -> str:
    text = _SEPARATOR.join(parts)
    if text.count(_SEPARATOR) >= len(parts):  # a part contains it: only the lengths tell where each part ends
        text = "\0".join((text, *(str(len(part)) for part in parts)))  # no part contains U+0000
    return blake2b(text.encode(), digest_size=size).hexdigest()


def command_ids(
    order_id: str, payment_id: str, operation: str, cause: tuple[str, str], settle_id: str | None, ordinal: int
) -> tuple[str, str]:
    """`commandId` and `requestId` of the nth command of one cause on one payment (and settlement)."""
    digits = _hex((order_id, payment_id, operation, *cause, settle_id or "", str(ordinal)), 32)
    return _as_uuid(digits[:32]), _as_uuid(digits[32:])


def _as_uuid(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def digest(*parts: str) -> str:
    """A short fingerprint of some content."""
    return _hex(parts, 12)
