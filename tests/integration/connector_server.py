"""A command, and a server that answers it with the bytes that a test gives."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from worker.connector.client import tls_context
from worker.connector.command import Command

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
COMMAND = Command(
    command_id="c1", request_id="r1", order_id="o1", payment_id="p1", transaction_id="t1", authorization_id="a1",
    connector="acme", currency="USD", value=6000, sequence=1, settle_id="s1",
)  # fmt: skip
GOOD = {"paymentId": "p1", "requestId": "r1", "settleId": "s-9", "value": 60.0, "code": None, "message": "done"}
NOW_MS = 1_700_000_000_000
TLS = tls_context()


@asynccontextmanager
async def listening(serve: Serve, **options: Any) -> AsyncIterator[int]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def answer_with(answer: bytes, requests: list[bytes] | None = None) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = next(
            int(line.split(b":")[1]) for line in head.lower().splitlines() if line.startswith(b"content-length")
        )
        content = await reader.readexactly(size)
        if requests is not None:
            requests.append(head + content)
        writer.write(answer)
        await writer.drain()
        writer.close()

    return serve


def http(status: int, content: object, *headers: str) -> bytes:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    lines = [f"HTTP/1.1 {status} Status", "Content-Type: application/json", f"Content-Length: {len(data)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data
