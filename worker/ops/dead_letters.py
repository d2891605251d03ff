"""The pages of dead letters: the list, and one of them."""

from aiohttp import web

from worker.ops.query import filters, parse_letter_id
from worker.ops.site import Site
from worker.people import dead_letters
from worker.people.readable import readable_record

LISTED_MAX = 200
STATUSES: dict[str, dead_letters.Status | None] = {
    "open": "open", "replayed": "replayed", "discarded": "discarded", "all": None,
}  # fmt: skip


async def dead_letters_page(site: Site, request: web.Request) -> web.Response:
    """The list of dead letters, latest first."""
    wanted = filters(request, "status", "reason", "topic", "merchant", "order")
    status = wanted["status"] = wanted["status"] if wanted["status"] in STATUSES else "open"
    filter_ = dead_letters.Filter(
        status=STATUSES[status], topic=wanted["topic"] or None, reason=wanted["reason"] or None,
        merchant=wanted["merchant"] or None, order_id=wanted["order"] or None,
    )  # fmt: skip
    async with site.reader.snapshot() as connection:
        found, has_more = await dead_letters.find(connection, filter_, LISTED_MAX)
    counted = site.monitor.dead_letters if status == "open" else {}
    code_texts = {
        code: f"{code.replace('_', ' ')}{f' ({counted[code]:,})' if code in counted else ''}"
        for code in dead_letters.CODES
    }
    return site.show(
        request, "dead_letters.html", wanted=wanted, found=found, has_more=has_more, statuses=STATUSES,
        code_texts=code_texts, topics=dead_letters.TOPICS, merchants=site.view.totals.merchants(),
    )  # fmt: skip


async def dead_letter_page(site: Site, request: web.Request) -> web.Response:
    """One dead letter: its record, why it was refused, what people did about it."""
    async with site.reader.snapshot() as connection:
        page = await dead_letters.read_page(connection, parse_letter_id(request.query.get("id", "")))
    return site.show(
        request, "dead_letter.html", page=page, letter=page.letter, shown=readable_record(page.letter.record)
    )
