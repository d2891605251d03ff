"""What the chaos tests share: a deployment of their own, and the wait for its orders' end."""

import secrets
from collections.abc import Sequence
from pathlib import Path

from tests.until import until
from worker.sandbox.erp import Story
from worker.sandbox.rehearsal import Rehearsal, Verdict, is_done
from worker.stack import StackEnv

SECONDS_MAX = 270


def rehearsal(home: Path, stack: StackEnv) -> Rehearsal:
    return Rehearsal(f"chaos_{secrets.token_hex(3)}", home, stack.as_settings())


async def until_told(play: Rehearsal, kind: str, number: int) -> None:
    """So many events of this kind are on their topic."""
    await until(lambda: play.look().events[kind] >= number, SECONDS_MAX)


async def until_done(play: Rehearsal, told: Sequence[Story]) -> None:
    """Every order has come to its end, as its topics tell."""

    def done() -> bool:
        seen = play.look()
        return all(is_done(seen, story) for story in told)

    await until(done, SECONDS_MAX)


async def finished(play: Rehearsal, told: Sequence[Story]) -> Verdict:
    """Asks the output topics until every order has come to its end."""
    await until_done(play, told)
    assert play.look().events["settlement.confirmed"] > len(told)
    return await play.verdict(told)
