"""The bare loop: the same HTTP client sends the same commands with the same concurrency, and stores nothing.

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
    pending = iter([msgspec.convert(command(index), Command) for index in range(number)])

    async def send(commands: Iterator[Command]) -> None:
        for pending_command in commands:
            reply = await client.send("settle", pending_command)
            assert isinstance(reply, Reply), reply
            assert reply.status == 200, reply

    started = time.monotonic()
    await asyncio.gather(*(send(pending) for _ in range(in_flight)))
    print(number / (time.monotonic() - started))
    await client.close()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
