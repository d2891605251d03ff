"""What needs a person: commands and amounts, and dead letters; lists, and one of them."""

import msgspec
from aiohttp import web

from worker.ops.orders import number
from worker.ops.site import Site
from worker.people import commands, dead_letters
from worker.people.acting import Refused
from worker.people.needs import needs

LISTED_MAX = 200
VALUE_CHARACTERS_MAX = 20_000
STATUSES: dict[str, dead_letters.Status | None] = {
    "open": "open", "replayed": "replayed", "discarded": "discarded", "all": None,
}  # fmt: skip


async def needs_page(site: Site, request: web.Request) -> web.Response:
    """What needs a person, and what a person may decide."""
    need, merchant = (request.query.get(name, "").strip() for name in ("need", "merchant"))
    async with site.reader.snapshot() as connection:
        found = await needs(connection, need=need or None, merchant=merchant or None, limit=LISTED_MAX)
    return site.show(request, "needs.html", need=need, merchant=merchant, found=found, most=LISTED_MAX,
                     counted=+site.view.totals.attention)  # fmt: skip


async def command_page(site: Site, request: web.Request) -> web.Response:
    """One command: what was asked, every attempt, every decision."""
    async with site.reader.snapshot() as connection:
        page = await commands.read_page(connection, request.query.get("id", ""))
    return site.show(request, "command.html", page=page, command=page.command)


async def dead_letters_page(site: Site, request: web.Request) -> web.Response:
    """Dead letters, latest first."""
    wanted = {name: request.query.get(name, "").strip() for name in ("status", "reason", "topic", "merchant", "order")}
    chosen = STATUSES.get(wanted["status"], "open")
    filter_ = dead_letters.Filter(
        status=chosen, topic=wanted["topic"] or None, reason=wanted["reason"] or None,
        merchant=wanted["merchant"] or None, order_id=wanted["order"] or None,
    )  # fmt: skip
    async with site.reader.snapshot() as connection:
        found = await dead_letters.find(connection, filter_, LISTED_MAX)
    return site.show(request, "dead_letters.html", wanted=wanted, chosen=chosen or "all", found=found,
                     counted=site.around.dead_letters, statuses=STATUSES, codes=dead_letters.CODES,
                     topics=dead_letters.TOPICS, most=LISTED_MAX)  # fmt: skip


async def dead_letter_page(site: Site, request: web.Request) -> web.Response:
    """One dead letter: where it came from, why it went no further, its bytes as text."""
    async with site.reader.snapshot() as connection:
        page = await dead_letters.read_page(connection, letter_id(request.query.get("id", "")))
    return site.show(request, "dead_letter.html", page=page, letter=page.letter,
                     value=readable(page.letter.record.value))  # fmt: skip


def letter_id(text: str) -> int:
    """The number of a dead letter; `Refused` where it is none."""
    found = number(text, -1)
    if not 0 < found <= dead_letters.ID_MAX:
        raise Refused(f"no dead letter {text} is known")
    return found


def readable(value: bytes | None) -> str | None:
    """JSON in lines, other text as it is, bytes that are not text as escapes; cut where nobody reads on."""
    if value is None:
        return None
    try:
        text = msgspec.json.format(value, indent=2).decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = value.decode("utf-8", "backslashreplace")
    return text if len(text) <= VALUE_CHARACTERS_MAX else text[:VALUE_CHARACTERS_MAX] + "\n… cut here"
