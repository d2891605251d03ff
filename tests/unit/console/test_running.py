"""Whoever presses Ctrl-C before the work has begun is told that it stopped, and nothing of how it is made."""

import inspect

import pytest

from worker.console import running


def test_work_interrupted_before_it_begins_is_closed_without_a_warning(monkeypatch: pytest.MonkeyPatch):
    """The interpreter warned of a coroutine that nobody had awaited."""

    async def work() -> None:
        raise AssertionError("it began")

    def stopped(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(running.asyncio, "Runner", stopped)
    begun = work()

    with pytest.raises(KeyboardInterrupt):
        running.run(begun)

    assert inspect.getcoroutinestate(begun) == inspect.CORO_CLOSED
