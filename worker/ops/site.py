"""What every page needs, and the values that every page shows."""

from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from msgspec import Struct

from worker.ops.guard import SESSION, Guard, Session
from worker.ops.html import render
from worker.ops.monitor import DeploymentMonitor
from worker.ops.reading import Reader
from worker.ops.view import View
from worker.settings import Settings

# What a page says after an act, by the query parameter `noted`: what is done, and what its worker does next.
DONE = {
    "retry": "Noted.", "resolve": "Noted.", "abandon": "Noted.", "replay": "Published again.", "discard": "Discarded.",
    "before": "You decided the same before, for the same reason: nothing is done twice. Another reason decides anew.",
}  # fmt: skip
NEXT = {
    "retry": ("delivery", "The command goes out again"), "resolve": ("delivery", "The result is booked"),
    "abandon": ("delivery", "The amount is given up"), "replay": ("ledger", "The ledger judges it"),
}  # fmt: skip


class Site(Struct):
    """The parts of the ops view, all of which only read."""

    settings: Settings
    guard: Guard
    view: View
    monitor: DeploymentMonitor
    reader: Reader

    def show(self, request: web.Request, template: str, status: int = 200, **values: Any) -> web.Response:
        """Renders a page from its own values and those that every page shows."""
        session: Session | None = request.get(SESSION)
        text = render(
            template,
            now=datetime.now(UTC),
            path=request.path,
            session=session,
            form_key=self.guard.form_key(session) if session else "",
            logs_out=self.guard.requires_token,
            attention=self.view.totals.attention.total(),
            open_letters=sum(self.monitor.dead_letters.values()),
            incomplete=self.view.incomplete_reason(),
            outages=self.monitor.outages,
            noted=self._noted(request.query.get("noted", "")),
            deployment=self.settings.topic_prefix.rstrip("._-"),
            **values,
        )
        return web.Response(text=text, content_type="text/html", status=status)

    def _noted(self, act: str) -> str | None:
        """What a page says after an act; "within a second" only if there is a worker that can do it."""
        if act not in NEXT:
            return DONE.get(act)
        role, then = NEXT[act]
        when = f"as soon as a {role} worker runs: none does now" if self.monitor.is_idle(role) else "within a second"
        return f"{DONE[act]} {then} {when}."

    def message(
        self, request: web.Request, status: int, title: str, text: str, *, subject: str | None = None
    ) -> web.Response:
        """Renders a page with one sentence, such as an error; `subject` is the address of the page that it is about."""
        return self.show(request, "message.html", status, title=title, text=text, subject=subject)
