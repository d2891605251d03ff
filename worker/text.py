"""Text that can be kept and sent: PostgreSQL takes no U+0000, and nothing encodes half of a surrogate pair."""


def storable(text: str) -> str:
    """The text, with what cannot be kept escaped; control characters of terminals are left to whoever shows it."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
