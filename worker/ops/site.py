"""What every page stands on, and what all of them show."""

from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from msgspec import Struct

from worker.ops.guard import SESSION, Guard, Session
from worker.ops.html import render
from worker.ops.reading import Reader
from worker.ops.surroundings import Surroundings
from worker.ops.view import View
from worker.settings import Settings

NOTED = {
    "retry": "Noted. The command goes out again within a second.",
    "resolve": "Noted. The result is booked within a second.",
    "abandon": "Noted. The amount is given up within a second.",
    "replay": "Published again. The ledger judges it within a second.",
    "discard": "Discarded.",
    "before": "You decided the same before, for the same reason: nothing is done twice. Another reason decides anew.",
}


class Site(Struct):
    """The parts of the ops view, each of which only reads."""

    settings: Settings
    guard: Guard
    view: View
    around: Surroundings
    reader: Reader

    def show(self, request: web.Request, template: str, status: int = 200, **values: Any) -> web.Response:
        """A page: its own values, and what all of them show."""
        session: Session | None = request.get(SESSION)
        text = render(
            template,
            now=datetime.now(UTC),
            path=request.path,
            session=session,
            form_key=self.guard.form_key(session) if session else "",
            logs_out=self.guard.asks_for_a_token,
            attention=self.view.totals.attention.total(),
            open_letters=sum(self.around.dead_letters.values()),
            incomplete=self.view.missing(),
            blind=self.around.problem,
            noted=NOTED.get(request.query.get("noted", "")),
            deployment=self.settings.topic_prefix.rstrip("._-"),
            **values,
        )
        return web.Response(text=text, content_type="text/html", status=status)

    def say(self, request: web.Request, status: int, title: str, says: str) -> web.Response:
        """A page that says one thing."""
        return self.show(request, "message.html", status, title=title, says=says)
