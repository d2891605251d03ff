"""SIGHUP asks a worker to read its connectors file again."""

import asyncio
import signal

from tests.until import until
from worker.stream.debounce import Debouncer

MANY = 200


async def test_many_hang_up_signals_cause_one_reload_and_a_later_one_another() -> None:
    read: list[str] = []
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, Debouncer(lambda: read.append("read")).trigger)
    try:
        for _ in range(MANY):
            signal.raise_signal(signal.SIGHUP)
        await until(lambda: read, 10)
        assert len(read) == 1
        signal.raise_signal(signal.SIGHUP)
        await until(lambda: len(read) > 1, 10)
    finally:
        loop.remove_signal_handler(signal.SIGHUP)

    assert len(read) == 2
