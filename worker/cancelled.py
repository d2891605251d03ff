"""How our background tasks end: because we ended them, by an error, or by a cancellation that nobody asked for."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


class GivenUpError(ConnectionError):
    """A library cancelled what we waited for, as Kafka's client does when its connection breaks."""


@contextmanager
def not_by_us() -> Iterator[None]:
    """Raises a library's cancellation as its failure: else it would end our own task, which nobody cancelled."""
    try:
        yield
    except asyncio.CancelledError as problem:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise GivenUpError("what was waited for was given up") from problem


async def end(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancels them and waits; what they had met before counts as seen, so that asyncio does not report it."""
    ending = list(tasks)
    for task in ending:
        task.cancel()
    if ending:
        await asyncio.wait(ending)
    for task in ending:
        if not task.cancelled():
            task.exception()


def failure_of(task: "asyncio.Task[Any] | None") -> BaseException | None:
    """What a background task has met, where that ended it."""
    return task.exception() if task is not None and task.done() and not task.cancelled() else None
