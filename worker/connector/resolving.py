"""Looks up a connector's host, so that a host that cannot be found holds up no other connector."""

import asyncio
import socket
from concurrent.futures import Future
from threading import Thread

from aiohttp.abc import AbstractResolver, ResolveResult

_NUMERIC = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


class Resolver(AbstractResolver):
    """Each lookup has a thread of its own, which nobody waits for, not even the end of the program.

    A name server that does not answer keeps its thread for ten seconds and longer. The loop has four of them (asyncio's
    own a few more), for every connector, for Kafka and for PostgreSQL. aiohttp looks a name up once at a time.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = Future[list[ResolveResult]]()
        found.set_running_or_notify_cancel()  # a lookup that nobody waits for any more ends all the same

        def look_up() -> None:
            try:
                found.set_result(_addresses(host, port, family))
            except Exception as problem:  # noqa: BLE001 - whoever waits raises it
                found.set_exception(problem)

        Thread(target=look_up, name=f"look up {host}", daemon=True).start()
        return await asyncio.wrap_future(found)

    async def close(self) -> None:
        """Nothing is kept."""


def _addresses(host: str, port: int, family: int) -> list[ResolveResult]:
    found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [
        ResolveResult(
            hostname=host, host=socket.getnameinfo(address, _NUMERIC)[0], port=port, family=kind, proto=proto,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for kind, _, proto, _, address in found
    ]  # fmt: skip
