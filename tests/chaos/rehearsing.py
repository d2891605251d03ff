"""What the chaos tests share: a deployment of their own, and the wait for its orders' end."""

import secrets
from collections.abc import Sequence
from pathlib import Path

from tests.until import until
from worker.sandbox.deployment import Sandbox, Verdict, is_done
from worker.sandbox.erp import ErpOrder
from worker.stack import StackEnv

SECONDS_MAX = 270


def rehearsal(home: Path, stack: StackEnv) -> Sandbox:
    return Sandbox(f"chaos_{secrets.token_hex(3)}", home, stack.as_settings())


async def until_told(play: Sandbox, kind: str, number: int) -> None:
    """So many events of this kind are on their topic."""
    await until(lambda: play.poll().events[kind] >= number, SECONDS_MAX)


async def until_done(play: Sandbox, told: Sequence[ErpOrder]) -> None:
    """Every order has come to its end, as its topics tell."""

    def done() -> bool:
        seen = play.poll()
        return all(is_done(seen, story) for story in told)

    await until(done, SECONDS_MAX)


async def finished(play: Sandbox, told: Sequence[ErpOrder]) -> Verdict:
    """Asks the output topics until every order has come to its end."""
    await until_done(play, told)
    assert play.poll().events["settlement.confirmed"] > len(told)
    return await play.verdict(told)
