"""Resolves host names in threads of their own, so that a slow name server delays no other connector."""

import asyncio
import socket
from concurrent.futures import Future
from threading import Thread

from aiohttp.abc import AbstractResolver, ResolveResult

_NUMERIC = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


class Resolver(AbstractResolver):
    """Each lookup has its own daemon thread, which not even the end of the program waits for.

    A name server that does not answer blocks its thread for ten seconds and longer. The event loop has four threads
    (asyncio's own a few more) for all connectors, Kafka and PostgreSQL. aiohttp resolves each name once at a time.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        future = Future[list[ResolveResult]]()
        future.set_running_or_notify_cancel()  # so that a lookup whose caller was cancelled can still end

        def look_up() -> None:
            try:
                future.set_result(_addresses(host, port, family))
            except Exception as problem:  # noqa: BLE001 - raised again in the caller
                future.set_exception(problem)

        Thread(target=look_up, name=f"look up {host}", daemon=True).start()
        return await asyncio.wrap_future(future)

    async def close(self) -> None:
        """Nothing to close."""


def _addresses(host: str, port: int, family: int) -> list[ResolveResult]:
    addresses = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [
        ResolveResult(
            hostname=host, host=socket.getnameinfo(address, _NUMERIC)[0], port=port, family=kind, proto=proto,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for kind, _, proto, _, address in addresses
    ]  # fmt: skip
