"""The database and the broker die under the workers, which wait, go on by themselves, and lose nothing."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.rehearsing import LOOK_SECONDS, SECONDS_MAX, finished, kill_server, rehearsal
from worker.sandbox.erp import stories
from worker.sandbox.erp_command import publish
from worker.sandbox.rehearsal import CONNECTORS
from worker.stack import down, up

ORDERS = 300
SECONDS = 10


@pytest.fixture
def own_home(tmp_path: Path) -> Iterator[Path]:
    """Of servers that nobody else needs; whoever starts them there need not stop them."""
    home = tmp_path / "home"
    try:
        yield home
    finally:
        down(home)


async def test_no_cent_is_lost_or_moved_twice_when_the_database_and_the_broker_are_killed(
    own_home: Path, tmp_path: Path
) -> None:
    told = list(stories(ORDERS, sorted(CONNECTORS), 11, "servers"))
    stack = up(own_home)

    async with rehearsal(tmp_path, stack) as play, asyncio.timeout(SECONDS_MAX):
        sending = asyncio.create_task(publish(play.settings, told, per_second=ORDERS / SECONDS))
        for service in ("postgres", "kafka", "postgres"):
            before = play.look().events["settlement.confirmed"]
            while play.look().events["settlement.confirmed"] < before + ORDERS // 8:  # noqa: ASYNC110 - only topics can tell
                await asyncio.sleep(LOOK_SECONDS)
            kill_server(own_home, service)
            await asyncio.to_thread(up, own_home)
        await sending
        verdict = await finished(play, told)

    assert verdict.good, verdict
