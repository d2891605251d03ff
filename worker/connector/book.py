"""Reads a connector's own book of effects, if it offers one (`GET <url>/book`), as the sandbox does."""

import httpx
import msgspec
from msgspec import Struct

from worker.domain.order import Operation

READ_SECONDS_MAX = 60.0
_NO_BOOK = (
    "only the sandbox has a book; with an acquirer, compare its settlement report "
    "(deploy/RUNBOOK.md, Reconcile with an acquirer)"
)


class BookError(Exception):
    """A connector's book cannot be read; the message says which, and why."""


class Effect(Struct, frozen=True, rename="camel"):
    """Money that the connector says it moved, in minor units."""

    operation: Operation
    payment_id: str
    request_id: str
    value: int


class _Book(Struct, frozen=True):
    effects: list[Effect]


async def read_book(url: str) -> list[Effect]:
    """Every effect in the book; raises `BookError`."""
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=READ_SECONDS_MAX) as client:
            reply = await client.get(f"{url}/book")
            return msgspec.json.decode(reply.raise_for_status().content, type=_Book).effects
    except httpx.HTTPStatusError as problem:
        raise BookError(f"{url}/book answers {problem.response.status_code}: {_NO_BOOK}") from None
    except msgspec.MsgspecError as problem:
        raise BookError(f"{url}/book answers with something else than a book ({problem}): {_NO_BOOK}") from None
    except (httpx.HTTPError, httpx.InvalidURL) as problem:
        raise BookError(f"{url}/book cannot be read: {str(problem) or type(problem).__name__}") from None
