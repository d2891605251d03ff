"""A cancellation that nobody asked us for."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class GivenUpError(ConnectionError):
    """A library cancelled what we waited for, as Kafka's client does when its connection breaks."""


@contextmanager
def not_by_us() -> Iterator[None]:
    """It is the library's failure, not the end of our task: unseen, a task would be over that nobody had ended."""
    try:
        yield
    except asyncio.CancelledError as problem:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise GivenUpError("what was waited for was given up") from problem
