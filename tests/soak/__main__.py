"""`python -m tests.soak`: a deployment works for a while as in operation, under strikes; then its books are checked.

Two workers of each kind serve plain orders, whose outcome is known beforehand, and messy ones in all modes, about which
somebody decides. Meanwhile workers, broker and database are killed, frozen, stopped. In the end every cent of the plain
orders is where it belongs, each connector's own book equals the ledger, and the accepted facts give the same ledger.
"""

import argparse
import asyncio
import logging
import random
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from itertools import islice
from pathlib import Path
from unittest.mock import patch

import httpx
import uvloop
from aiokafka.errors import KafkaError

from tests.brokers import FIRST, cluster, placed, start
from tests.soak.messy import MessyOrder, messy_orders
from tests.soak.people import People
from tests.soak.strikes import Striker
from tests.until import until
from worker.kafka import topics
from worker.kafka.lag import LagReader
from worker.postgres.connecting import SESSION_LOST
from worker.sandbox.deployment import CONNECTORS, Sandbox, Simulated, is_done
from worker.sandbox.erp import ErpOrder, erp_orders
from worker.sandbox.erp_command import publish
from worker.stack import StackEnv
from worker.stack.database import Database
from worker.stack.home import Home
from worker.stack.service import Service

_FAULTS = {"error": 0.05, "lost": 0.05, "decline": 0.05, "short": 0.04, "manual": 0.01, "echo": 0.01, "busy": 0.02,
           "silence": 0.005}  # fmt: skip
_MESSY = " ".join(["--latency-ms 30", *(f"--fault {word}={rate}" for word, rate in _FAULTS.items())])
_SHORT_OF_PATIENCE = {"horizon_hours": 0.01, "decline_after_unknown": "suspect"}
MESSY = {
    "messy-partial": Simulated(_MESSY, _SHORT_OF_PATIENCE),
    "messy-total": Simulated(_MESSY, {**_SHORT_OF_PATIENCE, "mode": "TOTAL"}),
    "messy-hold": Simulated(_MESSY, {**_SHORT_OF_PATIENCE, "mode": "HOLD"}),
}
WORKERS = {"ledger": "ledger", "ledger-2": "ledger", "delivery": "delivery", "delivery-2": "delivery"}
PLAIN_AT_ONCE, MESSY_AT_ONCE = 10, 3
ROUND_SECONDS = 2.0
REPORT_SECONDS = 30.0
END_SECONDS_MAX = 600.0
CALMING = {"all": "ok", "for_seconds": 2 * END_SECONDS_MAX}


class Soak:
    """One run."""

    def __init__(self, sandbox: Sandbox, servers: Mapping[str, Service], seed: int, minutes: float) -> None:
        self._sandbox = sandbox
        self._until = time.monotonic() + 60 * minutes
        self._people = People(sandbox.settings.database, sandbox.urls, random.Random(seed))
        self._striker = Striker(sandbox, WORKERS, servers, random.Random(seed + 1))
        self._plain = erp_orders(sys.maxsize, sorted(CONNECTORS), seed, "plain")
        self._messy = messy_orders(sorted(MESSY), random.Random(seed + 2), "messy")
        self._sent = list[ErpOrder]()
        self._messy_sent = 0
        self._strikes = 0

    async def run(self) -> bool:
        """Whether every book is right in the end."""
        for name in ("ledger-2", "delivery-2"):
            self._sandbox.processes.start(name, WORKERS[name])
        async with asyncio.TaskGroup() as group:
            for repeated, pause in ((self._order, ROUND_SECONDS), (self._decide, ROUND_SECONDS), (self._strike, 0),
                                    (self._report, REPORT_SECONDS)):  # fmt: skip
                group.create_task(self._repeat(repeated, pause))
        _say("no more strikes, and the connectors do what they are asked")
        async with httpx.AsyncClient(trust_env=False) as client:
            for url in self._sandbox.urls.values():
                (await client.post(f"{url}/faults", json=CALMING)).raise_for_status()
        await until(self._is_over, END_SECONDS_MAX, "everything has come to its end", look_seconds=ROUND_SECONDS,
                    explain=lambda: f"logs in {self._sandbox.folder}")  # fmt: skip
        await self._report()
        return await self._verdict()

    async def _repeat(self, repeated: Callable[[], Awaitable[None]], pause_seconds: float) -> None:
        while time.monotonic() < self._until:
            await repeated()
            await asyncio.sleep(pause_seconds)

    async def _order(self) -> None:
        """Publishes some orders; again, if Kafka did not answer: what arrives twice counts once."""
        orders: list[ErpOrder | MessyOrder] = [*islice(self._plain, PLAIN_AT_ONCE), *islice(self._messy, MESSY_AT_ONCE)]
        while True:
            with suppress(KafkaError):
                await publish(self._sandbox.settings, orders)
                break
        self._sent += (order for order in orders if isinstance(order, ErpOrder))
        self._messy_sent += MESSY_AT_ONCE

    async def _decide(self) -> None:
        with suppress(*SESSION_LOST):
            await self._people.decide()

    async def _strike(self) -> None:
        _say(await self._striker.strike())
        self._strikes += 1

    async def _report(self) -> None:
        events = self._sandbox.poll().events.total()
        decided = ", ".join(f"{act} {count}" for act, count in sorted(self._people.decided.items()))
        _say(f"{len(self._sent)} plain and {self._messy_sent} messy orders sent, {events} events, {self._strikes} "
             f"strikes; decided: {decided or 'nothing'}")  # fmt: skip

    async def _is_over(self) -> bool:
        """Nothing is unread, under way or in need of a person, and the plain orders are finished."""
        if await self._people.decide():
            return False
        observed = self._sandbox.poll()
        under_way = any(
            state[sums] for state in observed.orders.values() for sums in ("settling", "refunding", "voiding")
        )
        return not under_way and all(is_done(observed, order) for order in self._sent) and not await self._lag()

    async def _lag(self) -> int:
        reader = LagReader(self._sandbox.settings)
        try:
            lags = await reader.read()
        finally:
            await reader.close()
        return sum(sum(lags[role]) for role in ("ledger", "delivery"))

    async def _verdict(self) -> bool:
        verdict = await self._sandbox.verdict(self._sent)
        rebuilt = await asyncio.to_thread(self._sandbox.processes.run, "rebuild", "--check")
        plain = [account for account in verdict.accounts if account.connector in CONNECTORS]
        expected = [sum(order.settled for order in self._sent), sum(order.refunded for order in self._sent)]
        booked = [sum(account.ledger[name] for account in plain) for name in ("settled", "refunded")]
        for account in verdict.accounts:
            differ = len(account.differences)
            _say(f"{account.connector}: {account.payments} payments, {differ} differ from its own book")
            for difference in account.differences:
                _say(f"  {difference}")
        _say(f"plain orders: settled and refunded {booked}, expected {expected}")
        _say("audit: every invariant holds" if verdict.audited else f"audit: {verdict.complaints}")
        _say(f"rebuild: {(rebuilt.stdout or rebuilt.stderr).strip()}")
        return verdict.audited and rebuilt.returncode == 0 and booked == expected


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


@asynccontextmanager
async def _running(server: Service) -> AsyncIterator[None]:
    try:
        await start(server)
        yield
    finally:
        await asyncio.to_thread(server.stop)


async def _run(home: Path, seed: int, minutes: float, brokers: int) -> bool:
    """Each partition has a replica on each broker, and can be written while two of them are in sync."""
    numbers = list(range(FIRST, FIRST + brokers))
    database = Database(Home(home))
    async with cluster(home / "brokers", brokers) as (first, others), _running(database):
        servers: dict[str, Service] = {"postgres": database}
        servers |= {f"broker {number}": broker for number, broker in zip(numbers, (first, *others), strict=True)}
        stack = StackEnv(",".join(broker.address for broker in (first, *others)), database.url).as_settings()
        sandbox = Sandbox("soak", home / "sandbox", stack, CONNECTORS | MESSY)
        with patch.object(topics, "NewTopic", placed(sandbox.settings.topic_prefix, lambda *_: numbers)):
            async with sandbox:
                return await Soak(sandbox, servers, seed, minutes).run()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="of the orders, strikes and decisions")
    parser.add_argument("--brokers", type=int, default=1, help="of one cluster; each has a replica of everything")
    arguments = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # its brokers are killed all the time
    home = Path(tempfile.mkdtemp(prefix="soak-"))
    _say(f"seed {arguments.seed}, {arguments.minutes:g} minutes, {arguments.brokers} brokers, in {home}")
    good = False
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            good = runner.run(_run(home, arguments.seed, arguments.minutes, arguments.brokers))
    finally:
        if good:
            shutil.rmtree(home)
    _say("good" if good else f"NOT GOOD: logs and data stay in {home}")
    raise SystemExit(not good)


if __name__ == "__main__":
    main()
