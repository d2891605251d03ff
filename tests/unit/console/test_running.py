"""Ctrl-C before the work begins ends the command without a warning of the interpreter."""

import inspect

import pytest

from worker.console import running


def test_work_interrupted_before_it_begins_is_closed_without_a_warning(monkeypatch: pytest.MonkeyPatch):
    """The interpreter warned of a coroutine that was never awaited."""

    async def work() -> None:
        raise AssertionError("it began")

    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(running.asyncio, "Runner", interrupted)
    begun = work()

    with pytest.raises(KeyboardInterrupt):
        running.run(begun)

    assert inspect.getcoroutinestate(begun) == inspect.CORO_CLOSED
