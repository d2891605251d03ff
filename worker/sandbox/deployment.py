"""A whole deployment of its own: database, topics, connectors, workers, and what became of the money."""

import asyncio
import json
import os
from collections.abc import Iterator, Mapping, Sequence
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
from worker.sandbox.watching import Seen, Watcher
from worker.settings import load

# Both lose some replies, fail now and then, and are slow in their own way.
CONNECTORS = {
    "cielo": ["--latency-ms", "20", "--error-rate", "0.02", "--lost-reply-rate", "0.01"],
    "rede": ["--latency-ms", "60", "--error-rate", "0.05"],
}
ADDRESS_SECONDS_MAX = 20.0
# What a count of the money leaves running.
_STAYING = (*CONNECTORS, "ops")
POLL_SECONDS = 0.1


class Verdict(Struct, frozen=True):
    """Whether the ERP, the ledger and the connectors say the same."""

    accounts: list[Comparison]
    as_invoiced: bool
    audited: bool
    complaints: str

    @property
    def good(self) -> bool:
        """Not a cent is lost or moved twice."""
        return self.as_invoiced and self.audited


class Sandbox:
    """Everything runs between `async with` and its end; nothing runs after it. The data stays."""

    def __init__(self, name: str, home: Path, stack: Mapping[str, str]) -> None:
        self.name = name
        self.folder = home / name
        self._server = stack["DATABASE_URL"]
        self.environment = {
            **stack,
            "DATABASE_URL": urlsplit(self._server)._replace(path=f"/{name}").geturl(),
            "TOPIC_PREFIX": f"{name}.",
            "CONNECTORS_FILE": str(self.folder / "connectors.toml"),
            "LOG_FORMAT": "json",
        }
        self.settings = load({**os.environ, **self.environment})  # as the programs that it starts have them
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

    def poll(self) -> Seen:
        """What dashboards see by now; raises when a program ended by itself."""
        self.processes.watch()
        return self._watcher.poll()

    def start_workers(self) -> None:
        """One of each kind."""
        for worker in ("ledger", "delivery"):
            self.processes.start(worker, worker)

    async def open_ops_view(self) -> str:
        """The ops view, and its address."""
        self.processes.start("ops", "ops")
        self.ops_url = await self._address("ops")
        return self.ops_url

    async def verdict(self, told: Sequence[ErpOrder]) -> Verdict:
        """Drains the workers and compares the books."""
        await asyncio.to_thread(self.processes.stop, *(one for one in self.processes.names if one not in _STAYING))
        books = [argument for name in self.urls for argument in ("--connector", name)]
        audit = await asyncio.to_thread(self.processes.run, "audit", "--json", *books)
        accounts = convert(json.loads(audit.stdout)["connectors"], list[Comparison]) if audit.stdout else []
        expected = sum(story.settled for story in told), sum(story.refunded for story in told)
        found = tuple(sum(account.ledger[name] for account in accounts) for name in ("settled", "refunded"))
        return Verdict(accounts, expected == found, audit.returncode == 0, audit.stdout + audit.stderr)

    async def effects(self) -> list[Effect]:
        """Everything that the connectors did, as their own books have it."""
        return [effect for url in self.urls.values() for effect in await read_book(url)]

    async def _start(self) -> None:
        for name, faults in CONNECTORS.items():
            self.processes.start(name, "sandbox", "connector", "--port", "0", *faults)
        await self._make_database()
        await migrate(self.settings.database)
        await create_missing(self.settings)
        self.urls = {name: await self._address(name) for name in CONNECTORS}
        (self.folder / "connectors.toml").write_text("\n".join(_tables(self.urls)))
        self.start_workers()
        await self._watcher.start()

    async def _make_database(self) -> None:
        connection = await asyncpg.connect(self._server)
        try:
            await connection.execute(f'CREATE DATABASE "{self.name}"')
        finally:
            await connection.close()

    async def _address(self, name: str) -> str:
        """A connector and the ops view print where they listen."""
        deadline = asyncio.get_running_loop().time() + ADDRESS_SECONDS_MAX
        while asyncio.get_running_loop().time() < deadline:
            self.processes.watch()
            for line in self.processes.log(name).read_text().splitlines():
                if "http://" in line:
                    return "http://" + line.split("http://")[1].split()[0]
            await asyncio.sleep(POLL_SECONDS)
        raise ProcessError(f"{name} did not start; its log is {self.processes.log(name)}")


def is_done(seen: Seen, story: ErpOrder) -> bool:
    """Whether an order has come to its end, with every refund done."""
    state = seen.orders.get(story.order_id)
    return state is not None and state["phase"] == "finished" and state["refunded"] == story.refunded


def _tables(urls: Mapping[str, str]) -> Iterator[str]:
    for name, url in urls.items():
        yield f'[connectors.{name}]\nurl = "{url}"\nprotocol = "ppp"\nmode = "PARTIAL"'
        # A killed attempt counts as unknown; these connectors' word is good enough after it.
        yield 'timeout_seconds = 2\nretry_seconds = [0.2, 0.5, 1, 2]\ndecline_after_unknown = "declined"\n'
