"""What happens to the programs of a deployment while it works: they are killed, frozen, stopped and started again."""

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Mapping

from tests.striking import strike_server
from worker.sandbox.deployment import Sandbox
from worker.stack.service import Service

FROZEN_SECONDS_MAX = 12.0  # longer than a lease
GONE_SECONDS_MAX = 5.0
PAUSE_SECONDS_MAX = 8.0


class Striker:
    """Strikes one program at a time, at random; every strike is over when it returns."""

    def __init__(
        self, sandbox: Sandbox, workers: Mapping[str, str], servers: Mapping[str, Service], dice: random.Random
    ) -> None:
        """What is struck, by name: the kind of each worker, and the servers."""
        self._sandbox = sandbox
        self._servers = servers
        self._workers = workers
        self._dice = dice
        self._kinds = (
            self._kill_worker, self._kill_worker, self._freeze_worker, self._drain_worker, self._reload_connectors,
            self._kill_server, self._freeze_server,
        )  # fmt: skip

    async def strike(self) -> str:
        """One strike after a pause; returns what it was."""
        await asyncio.sleep(self._dice.uniform(0, PAUSE_SECONDS_MAX))
        return await self._dice.choice(self._kinds)()

    async def _kill_worker(self) -> str:
        name = self._any_worker()
        self._sandbox.processes.kill(name)
        return f"{name} killed, gone for {await self._gone(name):.1f} s"

    async def _drain_worker(self) -> str:
        name = self._any_worker()
        await asyncio.to_thread(self._sandbox.processes.stop, name)
        return f"{name} stopped, gone for {await self._gone(name):.1f} s"

    async def _gone(self, name: str) -> float:
        """Starts it again after a while."""
        seconds = self._dice.uniform(0, GONE_SECONDS_MAX)
        await asyncio.sleep(seconds)
        self._sandbox.processes.start(name, self._workers[name])
        return seconds

    async def _freeze_worker(self) -> str:
        name, processes = self._any_worker(), self._sandbox.processes

        async def send(which: signal.Signals) -> None:
            processes.send_signal(name, which)

        return f"{name} frozen for {await self._frozen(send):.1f} s"

    async def _reload_connectors(self) -> str:
        name = self._any_worker()
        self._sandbox.processes.send_signal(name, signal.SIGHUP)
        return f"{name} told to read the connectors file"

    async def _kill_server(self) -> str:
        name, server = self._any_server()
        before = server.address
        await strike_server(server, signal.SIGKILL)
        await asyncio.to_thread(server.start)
        if server.address != before:
            raise SystemExit(f"{name} came back on another port, so this run is void: another program took its own")
        return f"{name} killed and started again"

    async def _freeze_server(self) -> str:
        name, server = self._any_server()
        seconds = await self._frozen(lambda which: strike_server(server, which))
        return f"{name} frozen for {seconds:.1f} s"

    async def _frozen(self, send: Callable[[signal.Signals], Awaitable[object]]) -> float:
        """Lets go on after a while what it has stopped."""
        seconds = self._dice.uniform(0, FROZEN_SECONDS_MAX)
        await send(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            await send(signal.SIGCONT)
        return seconds

    def _any_worker(self) -> str:
        return self._dice.choice(sorted(self._workers))

    def _any_server(self) -> tuple[str, Service]:
        return self._dice.choice(sorted(self._servers.items()))
