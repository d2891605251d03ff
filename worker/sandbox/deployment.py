"""A complete deployment to try things with: database, topics, connectors and workers, and a check of its books."""

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import asyncpg
from msgspec import Struct, convert

from worker.connector.book import Effect, read_book
from worker.kafka.topics import create_missing
from worker.ledger.comparing import Comparison
from worker.postgres.migrations import migrate
from worker.sandbox.erp import ErpOrder
from worker.sandbox.processes import ProcessError, Processes
from worker.sandbox.watching import Observed, Watcher
from worker.settings import load

ADDRESS_SECONDS_MAX = 20.0
POLL_SECONDS = 0.1


class Simulated(Struct, frozen=True):
    """A connector of a sandbox: the options of its program, and what its table in the connectors file says."""

    options: str
    terms: Mapping[str, object] = {}


# Each has its own latency and fails at times; cielo also loses replies.
CONNECTORS = {
    "cielo": Simulated("--latency-ms 20 --fault error=0.02 --fault lost=0.01"),
    "rede": Simulated("--latency-ms 60 --fault error=0.05"),
}
# An attempt cut off by a kill is unknown; after it, a decline of these connectors can be trusted.
_TERMS = {"protocol": "ppp", "mode": "PARTIAL", "timeout_seconds": 2, "retry_seconds": [0.2, 0.5, 1, 2],
          "decline_after_unknown": "declined"}  # fmt: skip


class Verdict(Struct, frozen=True):
    """Whether the books of the ERP, the ledger and the connectors agree."""

    accounts: list[Comparison]
    as_invoiced: bool
    audited: bool
    complaints: str

    @property
    def good(self) -> bool:
        """Whether no cent was lost or moved twice."""
        return self.as_invoiced and self.audited


class Sandbox:
    """A deployment whose programs run inside its `async with` block; its data stays afterwards."""

    def __init__(
        self, name: str, home: Path, stack: Mapping[str, str], connectors: Mapping[str, Simulated] = CONNECTORS
    ) -> None:
        self.name = name
        self._connectors = connectors
        self.folder = home / name
        self._server = stack["DATABASE_URL"]
        self.environment = {
            **stack,
            "DATABASE_URL": urlsplit(self._server)._replace(path=f"/{name}").geturl(),
            "TOPIC_PREFIX": f"{name}.",
            "CONNECTORS_FILE": str(self.folder / "connectors.toml"),
            "LOG_FORMAT": "json",
        }
        self.settings = load({**os.environ, **self.environment})  # the same as those of the programs that it starts
        self.processes = Processes(self.folder, self.environment)
        self._watcher = Watcher(self.settings)
        self.urls: dict[str, str] = {}
        self.ops_url: str | None = None

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            self.processes.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._watcher.stop()
        await asyncio.to_thread(self.processes.stop)

    def poll(self) -> Observed:
        """What the output topics contain by now; raises `ProcessError` if a program has exited."""
        self.processes.raise_if_exited()
        return self._watcher.poll()

    def start_workers(self) -> None:
        """Starts one ledger worker and one delivery worker."""
        for worker in ("ledger", "delivery"):
            self.processes.start(worker, worker)

    async def open_ops_view(self) -> str:
        """Starts the ops view and returns its address."""
        self.processes.start("ops", "ops")
        self.ops_url = await self._address("ops")
        return self.ops_url

    async def verdict(self, orders: Sequence[ErpOrder]) -> Verdict:
        """Stops the workers, which drain first, and compares the books with these orders."""
        kept = (*self._connectors, "ops")
        await asyncio.to_thread(self.processes.stop, *(name for name in self.processes.names if name not in kept))
        books = [argument for name in self.urls for argument in ("--connector", name)]
        audit = await asyncio.to_thread(self.processes.run, "audit", "--json", *books)
        accounts = convert(json.loads(audit.stdout)["connectors"], list[Comparison]) if audit.stdout else []
        expected = sum(order.settled for order in orders), sum(order.refunded for order in orders)
        booked = tuple(sum(account.ledger[name] for account in accounts) for name in ("settled", "refunded"))
        return Verdict(accounts, expected == booked, audit.returncode == 0, audit.stdout + audit.stderr)

    async def effects(self) -> list[Effect]:
        """Everything that the connectors have done, according to their own books."""
        return [effect for url in self.urls.values() for effect in await read_book(url)]

    async def _start(self) -> None:
        for name, simulated in self._connectors.items():
            self.processes.start(name, "sandbox", "connector", "--port", "0", *simulated.options.split())
        await self._make_database()
        await migrate(self.settings.database)
        await create_missing(self.settings)
        self.urls = {name: await self._address(name) for name in self._connectors}
        tables = (_table(name, self.urls[name], simulated.terms) for name, simulated in self._connectors.items())
        (self.folder / "connectors.toml").write_text("\n".join(tables))
        self.start_workers()
        await self._watcher.start()

    async def _make_database(self) -> None:
        connection = await asyncpg.connect(self._server)
        try:
            await connection.execute(f'CREATE DATABASE "{self.name}"')
        finally:
            await connection.close()

    async def _address(self, name: str) -> str:
        """The address that a connector or the ops view prints when it listens."""
        deadline = asyncio.get_running_loop().time() + ADDRESS_SECONDS_MAX
        while asyncio.get_running_loop().time() < deadline:
            self.processes.raise_if_exited()
            for line in self.processes.log(name).read_text().splitlines():
                if "http://" in line:
                    return "http://" + line.split("http://")[1].split()[0]
            await asyncio.sleep(POLL_SECONDS)
        raise ProcessError(
            f"{name} did not start within {ADDRESS_SECONDS_MAX:.0f} s; its log is {self.processes.log(name)}"
        )


def is_done(observed: Observed, order: ErpOrder) -> bool:
    """Whether the order is finished and all its refunds are done."""
    state = observed.orders.get(order.order_id)
    return state is not None and state["phase"] == "finished" and state["refunded"] == order.refunded


def _table(name: str, url: str, terms: Mapping[str, object]) -> str:
    """A table of the connectors file; JSON writes these values as TOML does."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in {"url": url, **_TERMS, **terms}.items()]
    return "\n".join([f"[connectors.{name}]", *lines, ""])
