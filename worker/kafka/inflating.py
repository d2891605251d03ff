"""Decompression with a limit: a few kilobytes of zstd or gzip can be made to fill any memory."""

from collections.abc import Callable
from mmap import MAP_PRIVATE, mmap
from threading import Lock

from cramjam import gzip, lz4, zstd

# Many times the size of any batch that a producer makes from records that a broker takes.
INFLATED_BYTES_MAX = 64 << 20

# Address space: it takes memory only as far as a batch has ever filled it.
_target = mmap(-1, INFLATED_BYTES_MAX, MAP_PRIVATE)
_one_at_a_time = Lock()


class InflatesTooFarError(Exception):
    """A batch inflates beyond the limit."""

    def __init__(self) -> None:
        super().__init__(f"it inflates to more than {INFLATED_BYTES_MAX:,} bytes")


def inflate_gzip(content: bytes | memoryview) -> bytes:
    """Inflates gzip, up to the limit."""
    return _inflate(gzip.decompress_into, content)


def inflate_lz4(content: bytes) -> bytes:
    """Inflates lz4, up to the limit."""
    return _inflate(lz4.decompress_into, content)


def inflate_zstd(content: bytes) -> bytes:
    """Inflates zstd, up to the limit."""
    return _inflate(zstd.decompress_into, content)


def _inflate(decompress_into: Callable[[bytes | memoryview, mmap], int], content: bytes | memoryview) -> bytes:
    with _one_at_a_time:
        try:
            return _target[: decompress_into(content, _target)]
        except Exception as problem:
            if "whole buffer" in str(problem):  # cramjam has one class of errors
                raise InflatesTooFarError from None
            raise
