"""The pages of what needs a person: the list, and one command."""

from aiohttp import web

from worker.ops.query import LISTED_MAX, filters, paged
from worker.ops.site import Site
from worker.ops.totals import positive
from worker.people import commands
from worker.people.needs import find_needs


async def needs_page(site: Site, request: web.Request) -> web.Response:
    """The commands and amounts that need a person, with what may be decided about each."""
    wanted = filters(request, "need", "merchant", "connector")
    totals = site.view.totals
    async with site.reader.snapshot() as connection:
        found = await find_needs(
            connection, need=wanted["need"] or None, merchant=wanted["merchant"] or None,
            connector=wanted["connector"] or None, limit=LISTED_MAX,
        )  # fmt: skip
    page, pages, entries = paged(request, len(found.latest))
    return site.show(
        request, "needs.html", wanted=wanted, found=found, counted=positive(totals.attention),
        shown=found.latest[entries], first=entries.start, page=page, pages=pages,
        merchants=totals.merchants(), connectors=totals.connectors(),
    )  # fmt: skip


async def command_page(site: Site, request: web.Request) -> web.Response:
    """One command: what was asked of the connector, every attempt, every decision."""
    async with site.reader.snapshot() as connection:
        page = await commands.read_page(connection, request.query.get("id", ""))
    return site.show(request, "command.html", page=page, command=page.command)
