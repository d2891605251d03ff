"""A cancellation by a library is an error, and one by us ends the task."""

import asyncio
import gc

import pytest

from worker.cancelled import GivenUpError, end, not_by_us


async def test_a_cancellation_by_a_library_is_an_error_and_does_not_cancel_our_task():
    cancelled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    cancelled.cancel()

    with pytest.raises(GivenUpError), not_by_us():
        await cancelled


async def test_a_task_that_we_cancel_is_cancelled():
    async def work() -> None:
        with not_by_us():
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()


async def test_a_timeout_inside_or_around_still_raises():
    async def inside() -> None:
        with not_by_us():
            async with asyncio.timeout(0):
                await asyncio.Event().wait()

    async def around() -> None:
        async with asyncio.timeout(0):
            with not_by_us():
                await asyncio.Event().wait()

    for limited in (inside, around):
        with pytest.raises(TimeoutError):
            await limited()


async def test_the_exception_of_a_task_that_was_ended_is_not_reported_as_never_retrieved():
    async def fails() -> None:
        raise ValueError

    reported: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context))
    try:
        tasks = [asyncio.create_task(fails()), asyncio.create_task(asyncio.Event().wait())]
        await asyncio.sleep(0)
        await end(tasks)
        assert [task.done() for task in tasks] == [True, True]
        tasks.clear()
        gc.collect()
    finally:
        loop.set_exception_handler(None)

    assert reported == []
