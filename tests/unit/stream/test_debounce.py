"""SIGHUP makes a worker reload its connectors file."""

import asyncio
import signal

from tests.until import until
from worker.stream.debounce import Debouncer

SIGNALS = 200


async def test_many_hang_up_signals_cause_one_reload_and_a_later_one_another() -> None:
    reloads: list[str] = []
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, Debouncer(lambda: reloads.append("reload")).trigger)
    try:
        for _ in range(SIGNALS):
            signal.raise_signal(signal.SIGHUP)
        await until(lambda: reloads, 10)
        assert len(reloads) == 1
        signal.raise_signal(signal.SIGHUP)
        await until(lambda: len(reloads) > 1, 10)
    finally:
        loop.remove_signal_handler(signal.SIGHUP)

    assert len(reloads) == 2
