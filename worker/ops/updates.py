"""Notifies open pages of changes by server-sent events; a page then fetches itself again."""

import asyncio

from aiohttp import web

from worker.ops.site import Site

PAUSE_SECONDS = 1.0  # between two events to one page
QUIET_SECONDS = 15.0  # without an event, until a comment keeps the connection open
POLL_SECONDS = 2.0  # of an order with an open command, whose attempts change its page but come in no topic
STREAMS_MAX = 200


class ChangeStreams:
    """The connections of all open pages; they end when the server does."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._open: set[asyncio.Task[None]] = set()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answers with server-sent events: `change`, at most one a second."""
        if len(self._open) >= STREAMS_MAX:
            raise web.HTTPServiceUnavailable(text="too many open pages", headers={"Retry-After": "30"})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        serving = asyncio.current_task()
        assert serving is not None
        self._open.add(serving)
        try:
            await response.prepare(request)
            await response.write(b"retry: 2000\n\n")
            await self._send_changes(request, response, request.query.get("order"))
        except (ConnectionResetError, asyncio.CancelledError):
            pass  # the page was closed, or the server ends
        finally:
            self._open.discard(serving)
        return response

    def end(self) -> None:
        """Closes every connection."""
        for serving in self._open:
            serving.cancel()

    async def _send_changes(self, request: web.Request, response: web.StreamResponse, order_id: str | None) -> None:
        """Checks the transport in every turn, as a write would notice a closed page only at the next change."""
        seen, quiet = self._state(order_id), 0.0
        while request.transport is not None and not request.transport.is_closing():
            changed = await self._wait_for_change(order_id, seen)
            if changed:
                seen, quiet = self._state(order_id), 0.0
                await response.write(b"event: change\ndata: \n\n")
            elif (quiet := quiet + PAUSE_SECONDS) >= QUIET_SECONDS:
                quiet = 0.0
                await response.write(b": still here\n\n")
            await asyncio.sleep(PAUSE_SECONDS)

    async def _wait_for_change(self, order_id: str | None, seen: object) -> bool:
        """Returns True as soon as the page may have changed, False after `POLL_SECONDS` without a change."""
        if self._state(order_id) != seen:
            return True
        async with self._site.view.changed:
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._site.view.changed.wait()
            except TimeoutError:
                row = self._site.view.row(order_id) if order_id else None
                return row is not None and bool(row.open_commands)
        return self._state(order_id) != seen

    def _state(self, order_id: str | None) -> object:
        """Returns a value that differs whenever the page would; each page also says what is out of date on it."""
        view, monitor = self._site.view, self._site.monitor
        is_complete = view.incomplete_reason() is None
        if order_id is not None:
            return view.row(order_id), is_complete, monitor.outages
        return view.revision, is_complete, monitor.revision
