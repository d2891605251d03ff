"""Waiting for a condition, never for time alone."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any

LOOK_SECONDS = 0.05


async def until(
    condition: Callable[[], Any | Awaitable[Any]],
    seconds: float,
    what: str = "",
    *,
    look_seconds: float = LOOK_SECONDS,
    explain: Callable[[], str] = str,
) -> Any:
    """Returns the condition's first true result; fails after `seconds`, naming `what` was awaited, with `explain()`."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if isawaitable(result):
            result = await result
        if result:
            return result
        if time.monotonic() >= deadline:
            name = what or getattr(condition, "__name__", "the condition")
            raise AssertionError(f"after {seconds:g} s still not true: {name}\n{explain()}")
        await asyncio.sleep(look_seconds)
