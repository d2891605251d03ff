"""Whoever waits runs in the middle of a long computation."""

import asyncio

import pytest

from worker.stream import turns
from worker.stream.turns import Turns


class Database:
    async def execute(self, _: str) -> None:
        await asyncio.sleep(0)


async def runs_meanwhile() -> bool:
    waiting = asyncio.Event()
    asyncio.get_running_loop().call_soon(waiting.set)
    await Turns(Database()).pass_on()
    return waiting.is_set()


async def test_others_run_once_a_computation_has_lasted_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TURN_SECONDS", 0.0)

    assert await runs_meanwhile()


async def test_a_short_computation_is_not_interrupted() -> None:
    assert not await runs_meanwhile()
