"""A sandbox of its own for a test, and waiting for what its topics show."""

import secrets
from collections.abc import Sequence
from pathlib import Path

from tests.until import until
from worker.sandbox.deployment import Sandbox, Verdict, is_done
from worker.sandbox.erp import ErpOrder
from worker.stack import StackEnv

SECONDS_MAX = 270


def new_sandbox(home: Path, stack: StackEnv) -> Sandbox:
    return Sandbox(f"chaos_{secrets.token_hex(3)}", home, stack.as_settings())


async def until_published(sandbox: Sandbox, event: str, number: int) -> None:
    """Waits until so many events of this type are on their topic."""
    await until(lambda: sandbox.poll().events[event] >= number, SECONDS_MAX, f"{number} events {event}")


async def until_done(sandbox: Sandbox, orders: Sequence[ErpOrder]) -> None:
    """Waits until the topics show the end of every order."""

    def all_are_done() -> bool:
        observed = sandbox.poll()
        return all(is_done(observed, order) for order in orders)

    await until(all_are_done, SECONDS_MAX)


async def final_verdict(sandbox: Sandbox, orders: Sequence[ErpOrder]) -> Verdict:
    """The check of the books after the end of every order."""
    await until_done(sandbox, orders)
    assert sandbox.poll().events["settlement.confirmed"] > len(orders)
    return await sandbox.verdict(orders)
