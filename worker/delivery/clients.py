"""One HTTP client per connector; when a connector's settings change, its old client is closed after its last answer."""

import asyncio

from worker.connector.client import Client, tls_context
from worker.connector.file import Connector

Task = asyncio.Task[None]


class Clients:
    """A client for each connector of the file, and clients with old settings that still wait for answers."""

    def __init__(self) -> None:
        self._tls = tls_context()
        self._in_force: dict[str, Client] = {}
        self._sends: dict[Client, set[Task]] = {}
        """Of each client that is open, also of those with old settings."""
        self._retiring: set[Task] = set()

    def of(self, connector: Connector) -> Client:
        """The connector's client. The caller must register its send at once (`add_send`)."""
        client = self._in_force.get(connector.name)
        if client is None:
            client = self._in_force[connector.name] = Client(connector, self._tls)
            self._sends[client] = set()
        return client

    def add_send(self, client: Client, send: Task) -> None:
        """Keeps the client open until this send has ended."""
        sends = self._sends[client]
        sends.add(send)
        send.add_done_callback(sends.discard)

    def replace(self, connectors: dict[str, Connector]) -> None:
        """Retires the clients of connectors whose settings have changed."""
        for name, client in list(self._in_force.items()):
            if connectors.get(name) != client.connector:
                del self._in_force[name]
                task = asyncio.create_task(self._retire(client), name=f"retire {name}")
                self._retiring.add(task)
                task.add_done_callback(self._retiring.discard)

    async def close(self) -> None:
        """Closes every connection, even if a send still waits on it."""
        for client in list(self._sends):
            await client.close()

    async def _retire(self, client: Client) -> None:
        if sends := self._sends[client]:
            await asyncio.wait(sends)
        await client.close()
        del self._sends[client]
