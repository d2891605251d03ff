"""Other tasks run in the middle of a long computation."""

import asyncio

import pytest

from worker.stream import time_slice
from worker.stream.time_slice import TimeSlice


class Database:
    async def execute(self, _: str) -> None:
        await asyncio.sleep(0)


async def another_task_runs() -> bool:
    ran = asyncio.Event()
    asyncio.get_running_loop().call_soon(ran.set)
    await TimeSlice(Database()).yield_if_over()
    return ran.is_set()


async def test_other_tasks_run_after_a_time_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_slice, "SLICE_SECONDS", 0.0)

    assert await another_task_runs()


async def test_a_computation_within_its_time_slice_does_not_yield() -> None:
    assert not await another_task_runs()
