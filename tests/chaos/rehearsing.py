"""What the chaos tests share: a deployment of their own, and the wait for its orders' end."""

import asyncio
import os
import secrets
import signal
from collections.abc import Sequence
from pathlib import Path

from worker.sandbox.erp import Story
from worker.sandbox.rehearsal import Rehearsal, Verdict, is_done
from worker.stack import StackEnv
from worker.stack.control import status

SECONDS_MAX = 270
LOOK_SECONDS = 0.2


def rehearsal(home: Path, stack: StackEnv) -> Rehearsal:
    return Rehearsal(f"chaos_{secrets.token_hex(3)}", home, stack.as_settings())


def kill_server(home: Path, service: str, how: signal.Signals = signal.SIGKILL) -> None:
    """To this home's `postgres` or `kafka`; what it started dies with it."""
    pid = next(look.pid for look in status(home) if look.service == service)
    assert pid is not None, f"{service} does not run"
    os.kill(pid, how)


async def finished(play: Rehearsal, told: Sequence[Story]) -> Verdict:
    """Asks the output topics until every order has come to its end."""
    while any(not is_done(view := play.look(), story) for story in told):  # noqa: ASYNC110 - only topics can tell
        await asyncio.sleep(LOOK_SECONDS)
    assert view.events["settlement.confirmed"] > len(told)
    return await play.verdict(told)
