"""The pages of what needs a person: commands and amounts, and dead letters."""

from aiohttp import web

from worker.ops.orders import parse_number
from worker.ops.site import Site
from worker.ops.totals import positive
from worker.people import commands, dead_letters
from worker.people.acting import Refused
from worker.people.needs import needs
from worker.people.readable import readable_record

LISTED_MAX = 200
STATUSES: dict[str, dead_letters.Status | None] = {
    "open": "open", "replayed": "replayed", "discarded": "discarded", "all": None,
}  # fmt: skip


async def needs_page(site: Site, request: web.Request) -> web.Response:
    """The commands and amounts that need a person, with what may be decided about each."""
    need, merchant = (request.query.get(name, "").strip() for name in ("need", "merchant"))
    async with site.reader.snapshot() as connection:
        found = await needs(connection, need=need or None, merchant=merchant or None, limit=LISTED_MAX)
    return site.show(request, "needs.html", need=need, merchant=merchant, found=found, most=LISTED_MAX,
                     counted=positive(site.view.totals.attention))  # fmt: skip


async def command_page(site: Site, request: web.Request) -> web.Response:
    """One command: what was asked of the connector, every attempt, every decision."""
    async with site.reader.snapshot() as connection:
        page = await commands.read_page(connection, request.query.get("id", ""))
    return site.show(request, "command.html", page=page, command=page.command)


async def dead_letters_page(site: Site, request: web.Request) -> web.Response:
    """The list of dead letters, latest first."""
    wanted = {name: request.query.get(name, "").strip() for name in ("status", "reason", "topic", "merchant", "order")}
    chosen = STATUSES.get(wanted["status"], "open")
    filter_ = dead_letters.Filter(
        status=chosen, topic=wanted["topic"] or None, reason=wanted["reason"] or None,
        merchant=wanted["merchant"] or None, order_id=wanted["order"] or None,
    )  # fmt: skip
    async with site.reader.snapshot() as connection:
        found = await dead_letters.find(connection, filter_, LISTED_MAX)
    return site.show(request, "dead_letters.html", wanted=wanted, chosen=chosen or "all", found=found,
                     counted=site.monitor.dead_letters, statuses=STATUSES, codes=dead_letters.CODES,
                     topics=dead_letters.TOPICS, most=LISTED_MAX)  # fmt: skip


async def dead_letter_page(site: Site, request: web.Request) -> web.Response:
    """One dead letter: its record, why it was refused, what people did about it."""
    async with site.reader.snapshot() as connection:
        page = await dead_letters.read_page(connection, parse_letter_id(request.query.get("id", "")))
    return site.show(
        request, "dead_letter.html", page=page, letter=page.letter, shown=readable_record(page.letter.record)
    )


def parse_letter_id(text: str) -> int:
    """Returns a dead letter's number; raises `Refused` for any other text."""
    number = parse_number(text, -1)
    if not 0 < number <= dead_letters.ID_MAX:
        raise Refused(f"no dead letter {text} is known")
    return number
