"""The web server: routes, and the middleware around every page: session, headers, errors in one sentence."""

from collections.abc import Awaitable, Callable
from importlib import resources

from aiohttp import web
from aiohttp.typedefs import Handler

from worker.health import live, metrics, readiness
from worker.listening import address, listen
from worker.ops.acting import FORM_BYTES_MAX, act, act_page
from worker.ops.dead_letters import dead_letter_page, dead_letters_page
from worker.ops.failures import explain
from worker.ops.guard import HEADERS, SESSION
from worker.ops.login import SessionMiddleware, login, login_page, logout
from worker.ops.needs import command_page, needs_page
from worker.ops.now import now_page
from worker.ops.orders import order_page, orders_page
from worker.ops.site import Site
from worker.ops.updates import ChangeStreams

Page = Callable[[Site, web.Request], Awaitable[web.StreamResponse]]

PAGES: dict[str, Page] = {
    "/": now_page, "/orders": orders_page, "/order": order_page, "/needs": needs_page, "/command": command_page,
    "/dead-letters": dead_letters_page, "/dead-letter": dead_letter_page,
}  # fmt: skip
STATIC = {"ops.css": "text/css", "ops.js": "text/javascript", "icon.svg": "image/svg+xml"}
# Paths that need no session: they say nothing about orders or money.
OPEN_PATHS = frozenset(("/live", "/ready", "/metrics", "/login", *(f"/static/{name}" for name in STATIC)))


class Server:
    """Listens between `start` and `stop`."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._streams = ChangeStreams(site)
        self._runner: web.AppRunner | None = None
        self.address = ""

    async def start(self, port: int) -> None:
        """Listens on OPS_HOST; port 0 takes a free one. Raises `CannotListen` where that is impossible."""
        host = self._site.settings.ops_host
        self._runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=2)
        await self._runner.setup()
        await listen(self._runner, host, port)
        self.address = f"http://{address(host, self._runner.addresses[0][1])}"

    async def stop(self) -> None:
        self._streams.end()
        if self._runner is not None:
            await self._runner.cleanup()

    def application(self) -> web.Application:
        sessions = SessionMiddleware(self._site, OPEN_PATHS)
        app = web.Application(
            middlewares=[self._add_headers, sessions.handle, self._explain_errors], client_max_size=FORM_BYTES_MAX
        )
        for path, page in PAGES.items():
            app.router.add_get(path, self._page(page))
        app.router.add_get("/act", self._operator(act_page))
        app.router.add_post("/act", self._operator(act))
        app.router.add_get("/stream", self._streams.serve)
        app.router.add_get("/login", self._page(login_page))
        app.router.add_post("/login", self._page(login))
        app.router.add_post("/logout", logout)
        app.router.add_get("/live", live)
        app.router.add_get("/ready", self._page(_ready))
        app.router.add_get("/metrics", metrics)
        for name in STATIC:
            app.router.add_get(f"/static/{name}", _static)
        return app

    def _page(self, page: Page) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await page(self._site, request)

        return handle

    def _operator(self, page: Page) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            session = request[SESSION]
            if session is None or session.role != "operator":
                return self._site.message(
                    request, 403, "For operators", "You are logged in as a viewer: you may look, not decide."
                )
            return await page(self._site, request)

        return handle

    @web.middleware
    async def _add_headers(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Adds the security headers to every answer, redirects included."""
        try:
            response = await handler(request)
        except web.HTTPException as answer:
            answer.headers.update(HEADERS)
            raise
        if not response.prepared:
            response.headers.update({name: value for name, value in HEADERS.items() if name not in response.headers})
        return response

    @web.middleware
    async def _explain_errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answers an error with a page of one sentence."""
        try:
            return await handler(request)
        except web.HTTPNotFound:
            return self._site.message(request, 404, "No such page", "There is nothing at this address.")
        except web.HTTPException:
            raise
        except Exception as problem:  # noqa: BLE001 - whatever it is, a page answers it
            return await explain(self._site, request, problem)


async def _ready(site: Site, _: web.Request) -> web.Response:
    """Needs no session, so it quotes no error of a server: the log and the pages do."""
    around = "the last look at the database or the brokers failed; the log says why" if site.monitor.outages else None
    reasons = {"view": site.view.incomplete_reason(), "around": around}
    return readiness({name: reason for name, reason in reasons.items() if reason})


async def _static(request: web.Request) -> web.Response:
    name = request.path.rpartition("/")[2]
    body = (resources.files("worker.ops") / "static" / name).read_bytes()
    return web.Response(body=body, content_type=STATIC[name], charset="utf-8", headers={"Cache-Control": "max-age=300"})
