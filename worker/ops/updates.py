"""Tells open pages that something changed; each then fetches itself once more to see what."""

import asyncio

from aiohttp import web

from worker.ops.site import Site

PAUSE_SECONDS = 1.0  # between two words to one page
QUIET_SECONDS = 15.0  # without a word a comment keeps the connection known
BUSY_SECONDS = 2.0  # an order with something under way may change without a word in any topic
STREAMS_MAX = 200


class Streams:
    """Every open page's connection; all end when the server does."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._open: set[asyncio.Task[None]] = set()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: `change`, at most one a second."""
        if len(self._open) >= STREAMS_MAX:
            raise web.HTTPServiceUnavailable(text="too many open pages", headers={"Retry-After": "30"})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        telling = asyncio.current_task()
        assert telling is not None
        self._open.add(telling)
        try:
            await response.prepare(request)
            await response.write(b"retry: 2000\n\n")
            await self._tell(request, response, request.query.get("order"))
        except (ConnectionResetError, asyncio.CancelledError):
            pass  # the page was closed, or the server ends
        finally:
            self._open.discard(telling)
        return response

    def end(self) -> None:
        """No page is told anything any more."""
        for telling in self._open:
            telling.cancel()

    async def _tell(self, request: web.Request, response: web.StreamResponse, order_id: str | None) -> None:
        """A page that was closed is seen here within seconds; a write would notice only when there is a word."""
        seen, quiet = self._mark(order_id), 0.0
        while request.transport is not None and not request.transport.is_closing():
            changed = await self._wait(order_id, seen)
            if changed:
                seen, quiet = self._mark(order_id), 0.0
                await response.write(b"event: change\ndata: \n\n")
            elif (quiet := quiet + PAUSE_SECONDS) >= QUIET_SECONDS:
                quiet = 0.0
                await response.write(b": still here\n\n")
            await asyncio.sleep(PAUSE_SECONDS)

    async def _wait(self, order_id: str | None, seen: object) -> bool:
        """True as soon as there is something new; false after a while without."""
        if self._mark(order_id) != seen:
            return True
        async with self._site.view.changed:
            try:
                async with asyncio.timeout(BUSY_SECONDS):
                    await self._site.view.changed.wait()
            except TimeoutError:
                row = self._site.view.row(order_id) if order_id else None
                return row is not None and bool(row.asked)
        return self._mark(order_id) != seen

    def _mark(self, order_id: str | None) -> object:
        """Differs whenever the page would differ."""
        if order_id is not None:
            return self._site.view.row(order_id)
        return self._site.view.stamp, self._site.around.stamp
