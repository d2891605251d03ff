"""What a library gives up is its failure; what was asked to end ends."""

import asyncio
import gc

import pytest

from worker.cancelled import GivenUpError, end, not_by_us


async def test_a_cancellation_by_a_library_is_an_error_and_does_not_cancel_our_task():
    waited_for: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waited_for.cancel()

    with pytest.raises(GivenUpError), not_by_us():
        await waited_for


async def test_a_task_that_we_cancel_is_cancelled():
    async def work() -> None:
        with not_by_us():
            await asyncio.Event().wait()

    working = asyncio.create_task(work())
    await asyncio.sleep(0)
    working.cancel()
    await asyncio.wait([working])

    assert working.cancelled()


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
    async def breaks() -> None:
        raise ValueError

    reported: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context))
    try:
        tasks = [asyncio.create_task(breaks()), asyncio.create_task(asyncio.Event().wait())]
        await asyncio.sleep(0)
        await end(tasks)
        assert [task.done() for task in tasks] == [True, True]
        tasks.clear()
        gc.collect()
    finally:
        loop.set_exception_handler(None)

    assert reported == []
