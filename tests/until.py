"""Waiting for what can be seen, never for time alone."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any

LOOK_SECONDS = 0.05


async def until(
    condition: Callable[[], Any | Awaitable[Any]], seconds: float, *, look_seconds: float = LOOK_SECONDS
) -> Any:
    """What the condition finds, as soon as that is something; whoever sees nothing for so long fails."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if isawaitable(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, f"not seen within {seconds:g} s"
        await asyncio.sleep(look_seconds)
