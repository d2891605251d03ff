"""The bare loop: the same HTTP client asks for the same commands, as many at once, and keeps no books.

`python -m tests.bench.contenders.bare URL COMMANDS IN_FLIGHT` prints commands per second.
"""

import asyncio
import sys
import time
from collections.abc import Iterator

import msgspec
import uvloop

from tests.bench.sending import command
from worker.connector.client import Client, Reply, tls_context
from worker.connector.command import Command
from worker.connector.file import Connector


async def main(url: str, number: int, in_flight: int) -> None:
    client = Client(Connector(name="acme", url=url, protocol="ppp", mode="PARTIAL"), tls_context())
    waiting = iter([msgspec.convert(command(one), Command) for one in range(number)])

    async def ask(these: Iterator[Command]) -> None:
        for one in these:
            reply = await client.send("settle", one)
            assert isinstance(reply, Reply), reply
            assert reply.status == 200, reply

    began = time.monotonic()
    await asyncio.gather(*(ask(waiting) for _ in range(in_flight)))
    print(number / (time.monotonic() - began))
    await client.close()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
