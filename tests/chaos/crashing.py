"""Runs a worker that kills itself at a named step: `python -m tests.chaos.crashing STEP delivery`.

It is the real program; only the method that the step names is wrapped, so production code has no hooks for this. A new
step is one more line in `STEPS`.
"""

import asyncio
import inspect
import os
import signal
import sys
from collections.abc import Callable
from functools import reduce, wraps
from importlib import import_module
from typing import Any, Literal, NamedTuple

from worker.cli import main

PROGRAM = (sys.executable, "-m", "tests.chaos.crashing")


class Step(NamedTuple):
    """The worker dies before or after the nth call of a method for which `only` is true."""

    place: str
    when: Literal["before", "after"] = "before"
    only: Callable[..., object] = lambda *_: True
    nth: int = 1
    seconds_later: float = 0.0


STEPS = {
    "delivery: taking over": Step(
        "worker.delivery.handler:DeliveryHandler._take_over", "after", lambda _, under_way: under_way.cycle.records
    ),
    "delivery: taken over": Step(
        "worker.delivery.handler:DeliveryHandler.committed", only=lambda _, cycle: cycle.records
    ),
    "delivery: due": Step(
        "worker.delivery.handler:DeliveryHandler._begin_due", "after", lambda _, under_way: under_way.attempts
    ),
    "delivery: before the first byte": Step("worker.connector.client:Client.send", nth=5),
    # The sandbox connectors take at least 10 ms.
    "delivery: after the request": Step(
        "worker.connector.client:_note_first_byte", "after", nth=5, seconds_later=0.005
    ),
    "delivery: after the reply": Step("worker.delivery.sending:Sending._add_result", nth=5),
    "delivery: after booking": Step("worker.stream.session:Session._committed", only=lambda _, done: done.rows),
    "delivery: after publishing": Step("worker.kafka.sink:Sink.queue", "after"),
    "ledger: after the poll": Step("worker.ledger.handler:LedgerHandler.handle", only=lambda _, cycle: cycle.records),
    "ledger: in the transaction": Step(
        "worker.ledger.tables:LedgerTables.write", "after", lambda _, changed, *__: changed
    ),
    "ledger: everything booked": Step(
        "worker.stream.transaction:Transactions._book", "after", lambda _, cycle, __: cycle.records
    ),
    "ledger: after the commit": Step("worker.stream.session:Session._committed", only=lambda _, done: done.rows),
    "ledger: while taking over": Step("worker.ledger.handler:LedgerHandler.taken", "after"),
    "ledger: left-over rows are published": Step("worker.stream.takeover:Takeover._publish_left_over", "after"),
    "ledger: half published": Step("worker.kafka.sink:Sink.queue", "after"),
}


def install(step: Step) -> None:
    """Wraps the step's method so that the nth call kills this process with SIGKILL."""
    module, path = step.place.split(":")
    *parents, name = path.split(".")
    owner: Any = reduce(getattr, parents, import_module(module))
    original, calls = getattr(owner, name), 0

    def perhaps_die(moment: str, arguments: tuple[Any, ...]) -> None:
        nonlocal calls
        if moment == step.when and step.only(*arguments):
            calls += 1
            if calls == step.nth:
                _die(step.seconds_later)

    @wraps(original)
    async def asynchronous(*arguments: Any) -> Any:
        perhaps_die("before", arguments)
        result = await original(*arguments)
        perhaps_die("after", arguments)
        return result

    @wraps(original)
    def synchronous(*arguments: Any) -> Any:
        perhaps_die("before", arguments)
        result = original(*arguments)
        perhaps_die("after", arguments)
        return result

    setattr(owner, name, asynchronous if inspect.iscoroutinefunction(original) else synchronous)


def _die(seconds_later: float) -> None:
    if seconds_later:
        asyncio.get_running_loop().call_later(seconds_later, _die, 0)
    else:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    step_name, *command = sys.argv[1:]
    install(STEPS[step_name])
    sys.argv = ["settlement", *command]
    main()
