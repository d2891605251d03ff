"""Who may come in: log-in, sessions, and what keeps pages of other origins from acting here through a browser.

Without tokens the view listens on loopback only and whoever reaches it is an operator: then the Host header must name
loopback, so that no name that somebody points at 127.0.0.1 opens it (DNS rebinding).
"""

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections import deque
from typing import Literal
from urllib.parse import SplitResult, urlsplit

import msgspec
from aiohttp import web
from msgspec import Struct

from worker.settings import Settings, SettingsError

Role = Literal["viewer", "operator"]

COOKIE = "settlement_session"
SESSION_SECONDS = 12 * 3600
TOKEN_CHARACTERS_MIN = 16
FAILURES_MAX = 5
FAILURES_OF_ALL_MAX = 50
FAILURES_SECONDS = 60.0

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "settlement",
}


class Session(Struct, frozen=True):
    """Who is logged in, as the cookie says; the signature says that we wrote it."""

    role: Role
    nonce: str
    until: int


class Guard:
    """Knows the tokens, signs sessions, counts failed log-ins."""

    def __init__(self, settings: Settings) -> None:
        operator, viewer = settings.ops_token, settings.ops_view_token
        self._tokens: list[tuple[Role, str]] = []
        if operator is not None:
            self._tokens.append(("operator", operator.reveal()))
        if viewer is not None:
            self._tokens.append(("viewer", viewer.reveal()))
        refuse_unsafe(settings, dict(self._tokens))
        # Another token, other sessions. Without the operator's they last as long as the process: what viewers know
        # signs nothing, or any of them could write an operator's session.
        seed = "\n".join(token for _, token in self._tokens) if operator is not None else secrets.token_hex(32)
        self._key = _session_key(seed)
        self._failures: deque[tuple[float, str]] = deque()

    @property
    def asks_for_a_token(self) -> bool:
        """Whether anybody has to log in."""
        return bool(self._tokens)

    def admit(self, token: str) -> Role | None:
        """Whose token it is; every token is compared, in the same time."""
        given = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        found: Role | None = None
        for role, known in self._tokens:
            if hmac.compare_digest(given, hashlib.sha256(known.encode()).digest()):
                found = found or role
        return found

    def wait_seconds(self, client: str) -> int:
        """How long this client has to wait before it may try again; 0: not at all."""
        now = time.monotonic()
        while self._failures and self._failures[0][0] < now - FAILURES_SECONDS:
            self._failures.popleft()
        mine = [at for at, whose in self._failures if whose == client]
        if len(mine) < FAILURES_MAX and len(self._failures) < FAILURES_OF_ALL_MAX:
            return 0
        oldest = mine[-FAILURES_MAX] if len(mine) >= FAILURES_MAX else self._failures[0][0]
        return max(1, round(oldest + FAILURES_SECONDS - now))

    def failed(self, client: str) -> None:
        """One more wrong token."""
        self._failures.append((time.monotonic(), client))

    def open_session(self, role: Role) -> tuple[Session, str]:
        """A new session, and its cookie."""
        session = Session(role, secrets.token_urlsafe(18), int(time.time()) + SESSION_SECONDS)
        body = msgspec.json.encode(session).hex()
        return session, f"{body}.{self._sign('session', body)}"

    def session(self, cookie: str | None) -> Session | None:
        """What a cookie says, where we wrote it and its time has not run out."""
        body, _, signature = (cookie or "").partition(".")
        if not hmac.compare_digest(self._sign("session", body).encode(), signature.encode("utf-8", "replace")):
            return None
        session = msgspec.json.decode(bytes.fromhex(body), type=Session)
        return session if session.until > time.time() else None

    def form_key(self, session: Session) -> str:
        """What every form of this session carries, and no other page can know."""
        return self._sign("form", session.nonce)

    def is_own_form(self, session: Session, key: str) -> bool:
        """Whether the form was one of ours."""
        return hmac.compare_digest(self.form_key(session).encode(), key.encode("utf-8", "replace"))

    def _sign(self, purpose: str, text: str) -> str:
        return hmac.new(self._key, f"{purpose}\n{text}".encode(), hashlib.sha256).hexdigest()


def _session_key(seed: str) -> bytes:
    """Slow on purpose: whoever has a cookie can try tokens against its signature, and nobody counts those."""
    return hashlib.scrypt(seed.encode(), salt=b"settlement ops session", n=1 << 14, r=8, p=1, dklen=32)


SESSION: web.RequestKey[Session | None] = web.RequestKey("session", Session)
"""Where a request keeps its session."""


def refuse_unsafe(settings: Settings, tokens: dict[Role, str]) -> None:
    """Beyond loopback nobody comes in without a token, and no token is short."""
    if not is_loopback(settings.ops_host) and "operator" not in tokens:
        raise SettingsError(f"OPS_TOKEN is missing: OPS_HOST {settings.ops_host} can be reached from elsewhere")
    for role, token in tokens.items():
        if len(token) < TOKEN_CHARACTERS_MIN:
            name = "OPS_TOKEN" if role == "operator" else "OPS_VIEW_TOKEN"
            raise SettingsError(f"{name} takes a secret of at least {TOKEN_CHARACTERS_MIN} characters")
    if len(set(tokens.values())) < len(tokens):
        raise SettingsError("OPS_TOKEN and OPS_VIEW_TOKEN are the same: give two, one for each role")


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches the address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def names_loopback(request: web.Request) -> bool:
    """Whether the browser was told to come here by a name that only this machine has."""
    place = _place(f"//{request.host}")
    return place is not None and is_loopback(place.hostname or "")


def from_elsewhere(request: web.Request) -> bool:
    """Whether a page of another origin sent this form. Every browser says so, in one header or in both."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is None and origin is None:
        return True
    place = None if origin is None else _place(origin)
    return site not in (None, "same-origin") or (origin is not None and (place is None or place.netloc != request.host))


def _place(address: str) -> SplitResult | None:
    """None: nothing can be there (`http://[`)."""
    try:
        return urlsplit(address)
    except ValueError:
        return None
