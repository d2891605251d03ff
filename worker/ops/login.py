"""Log-in and log-out, and the middleware that lets no request pass without a session, and no form of another site."""

from aiohttp import web
from aiohttp.typedefs import Handler
from yarl import URL

from worker import telemetry
from worker.ops.guard import COOKIE, SESSION, SESSION_SECONDS, Session, is_cross_origin, names_loopback
from worker.ops.site import Site

# Raised for bodies that no browser sends: an unknown charset or compression, no boundary, bytes that are not text.
UNREADABLE_FORM = (ValueError, LookupError, RuntimeError, web.RequestPayloadError)


class SessionMiddleware:
    """Refuses or redirects a request without a session, unless its path is one of `open_paths`."""

    def __init__(self, site: Site, open_paths: frozenset[str]) -> None:
        self._site = site
        self._open = open_paths

    @web.middleware
    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        guard = self._site.guard
        if not guard.requires_token and not names_loopback(request):
            return web.Response(
                status=421, text="This view is reached as localhost only; OPS_TOKEN opens it to others.\n"
            )
        request[SESSION] = session = guard.session(request.cookies.get(COOKIE))
        if request.method == "POST" and (refusal := await self._refuse_foreign_form(request, session)):
            return refusal
        if session is not None or request.path in self._open:
            return await handler(request)
        return await self._without_session(request, handler)

    async def _refuse_foreign_form(self, request: web.Request, session: Session | None) -> web.Response | None:
        """Returns an error page for a form of another site or another session, or one that cannot be read."""
        if is_cross_origin(request):
            return self._site.message(request, 403, "Not from here", "Another site sent this form; nothing was done.")
        try:
            form = await request.post()
        except UNREADABLE_FORM:
            return self._site.message(
                request, 400, "No form", "What was sent cannot be read as a form; nothing was done."
            )
        if session is None or request.path == "/login":
            return None
        key = str(form.get("form_key", ""))
        if self._site.guard.is_own_form(session, key):
            return None
        return self._site.message(request, 403, "Too old", "This form is not from your session; open the page again.")

    async def _without_session(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Opens a session if no token is required; otherwise leads to the log-in page."""
        if request.path == "/stream":
            return web.Response(status=401, text="log in first\n")
        if request.method not in ("GET", "HEAD"):
            again = "log in and open the page again" if self._site.guard.requires_token else "open the page again"
            return self._site.message(request, 401, "Your session is over", f"Nothing was done; {again}.")
        if self._site.guard.requires_token:
            raise web.HTTPSeeOther(URL("/login").with_query(to=request.path_qs))
        request[SESSION], cookie = self._site.guard.open_session("operator")
        response = await handler(request)
        _set_cookie(request, response, cookie)
        return response


async def login_page(site: Site, request: web.Request) -> web.Response:
    return site.show(request, "login.html", to=request.query.get("to", "/"), wrong="")


async def login(site: Site, request: web.Request) -> web.StreamResponse:
    """Opens a session for a known token; after too many wrong ones the client has to wait."""
    client = request.remote or ""
    form = await request.post()
    to = str(form.get("to", "/"))
    if wait := site.guard.wait_seconds(client):
        answer = site.show(request, "login.html", 429, to=to, wrong=f"Too many wrong tokens; try again in {wait} s.")
        answer.headers["Retry-After"] = str(wait)
        return answer
    role = site.guard.role_of(str(form.get("token", "")))
    if role is None:
        site.guard.record_failure(client)
        telemetry.log.warning("log-in refused", client=client)
        return site.show(request, "login.html", 403, to=to, wrong="This token is not known here.")
    telemetry.log.info("logged in", role=role, client=client)
    _, cookie = site.guard.open_session(role)
    response = web.Response(status=303, headers={"Location": _own_path(to)})
    _set_cookie(request, response, cookie)
    return response


async def logout(_: web.Request) -> web.Response:
    response = web.Response(status=303, headers={"Location": "/login"})
    response.del_cookie(COOKIE)
    return response


def _own_path(to: str) -> str:
    """Returns `to` if it is a path of ours, else `/`. `//x` is another site, also with a tab between its slashes."""
    if not to.isprintable() or not to.startswith("/") or to.startswith(("//", "/\\")):
        return "/"
    target = URL(to)
    return "/" if target.absolute else str(target)


def _set_cookie(request: web.Request, response: web.StreamResponse, cookie: str) -> None:
    secure = request.secure or request.headers.get("X-Forwarded-Proto") == "https"
    response.set_cookie(COOKIE, cookie, max_age=SESSION_SECONDS, httponly=True, samesite="Strict", secure=secure)
