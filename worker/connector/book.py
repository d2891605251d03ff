"""A connector's own book, where it lets one read it, as the sandbox does: `GET <url>/book`."""

import httpx
import msgspec
from msgspec import Struct

from worker.domain.order import Operation

READ_SECONDS_MAX = 60.0


class BookError(Exception):
    """One sentence: whose book cannot be read, and why."""


class Effect(Struct, frozen=True, rename="camel"):
    """Money that the connector says it moved, in minor units."""

    operation: Operation
    payment_id: str
    request_id: str
    value: int


class _Book(Struct, frozen=True):
    effects: list[Effect]


async def read_book(url: str) -> list[Effect]:
    """Every effect, or a `BookError`."""
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=READ_SECONDS_MAX) as client:
            reply = await client.get(f"{url}/book")
            return msgspec.json.decode(reply.raise_for_status().content, type=_Book).effects
    except (httpx.HTTPError, httpx.InvalidURL, msgspec.MsgspecError) as problem:
        raise BookError(f"{url}/book cannot be read as a connector's book: {problem}") from None
