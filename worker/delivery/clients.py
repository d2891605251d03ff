"""The HTTP clients in use; one whose table has changed is closed after the last answer that it waits for."""

import asyncio

from worker.connector.client import Client, tls_context
from worker.connector.file import Connector

Send = asyncio.Task[None]


class Clients:
    """One for each connector in force, and those that a changed file has retired."""

    def __init__(self) -> None:
        self._tls = tls_context()
        self._in_force: dict[str, Client] = {}
        self._sends: dict[Client, set[Send]] = {}
        self._retiring: dict[Client, Send] = {}

    def of(self, connector: Connector) -> Client:
        """The client of a connector in force; the caller says at once which send uses it (`busy`)."""
        client = self._in_force.get(connector.name)
        if client is None:
            client = self._in_force[connector.name] = Client(connector, self._tls)
            self._sends[client] = set()
        return client

    def busy(self, client: Client, send: Send) -> None:
        """The client is not closed before this has ended."""
        sends = self._sends[client]
        sends.add(send)
        send.add_done_callback(sends.discard)

    def renew(self, connectors: dict[str, Connector]) -> None:
        """Connectors whose table has changed get a new client from here on."""
        for name, client in list(self._in_force.items()):
            if connectors.get(name) != client.connector:
                del self._in_force[name]
                self._retiring[client] = asyncio.create_task(self._retire(client), name=f"retire {name}")

    async def close(self) -> None:
        """Lets go of every connection, whatever still waits on it."""
        for client in [*self._in_force.values(), *self._retiring]:
            await client.close()

    async def _retire(self, client: Client) -> None:
        if sends := self._sends.pop(client):
            await asyncio.wait(sends)
        await client.close()
        del self._retiring[client]
