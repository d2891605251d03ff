"""The pages of what needs a person: the list, and one command."""

from aiohttp import web

from worker.ops.query import filters
from worker.ops.site import Site
from worker.ops.totals import positive
from worker.people import commands
from worker.people.needs import find_needs

LISTED_MAX = 200


async def needs_page(site: Site, request: web.Request) -> web.Response:
    """The commands and amounts that need a person, with what may be decided about each."""
    wanted = filters(request, "need", "merchant")
    async with site.reader.snapshot() as connection:
        found = await find_needs(
            connection, need=wanted["need"] or None, merchant=wanted["merchant"] or None, limit=LISTED_MAX
        )
    return site.show(request, "needs.html", wanted=wanted, found=found, counted=positive(site.view.totals.attention),
                     merchants=site.view.totals.merchants())  # fmt: skip


async def command_page(site: Site, request: web.Request) -> web.Response:
    """One command: what was asked of the connector, every attempt, every decision."""
    async with site.reader.snapshot() as connection:
        page = await commands.read_page(connection, request.query.get("id", ""))
    return site.show(request, "command.html", page=page, command=page.command)
