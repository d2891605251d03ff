"""Authentication: tokens, signed session cookies, and the checks against cross-site requests (CSRF, DNS rebinding).

Without tokens the view listens on loopback only and everybody who reaches it is an operator. Then the Host header must
name loopback, so that a foreign name that resolves to 127.0.0.1 opens nothing (DNS rebinding).
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
FAILURES_ALL_CLIENTS_MAX = 50
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
    """What a session cookie holds; it is signed."""

    role: Role
    nonce: str
    until: int


class Guard:
    """Checks tokens, signs and verifies sessions and forms, and counts failed log-ins."""

    def __init__(self, settings: Settings) -> None:
        operator, viewer = settings.ops_token, settings.ops_view_token
        self._tokens: list[tuple[Role, str]] = []
        if operator is not None:
            self._tokens.append(("operator", operator.reveal()))
        if viewer is not None:
            self._tokens.append(("viewer", viewer.reveal()))
        refuse_unsafe(settings, dict(self._tokens))
        # A changed token ends all sessions. Without an operator's token the key is random and sessions end with the
        # process: a key derived from the viewers' token would let any viewer forge an operator's session.
        seed = "\n".join(token for _, token in self._tokens) if operator is not None else secrets.token_hex(32)
        self._key = _session_key(seed)
        self._failures: deque[tuple[float, str]] = deque()

    @property
    def requires_token(self) -> bool:
        return bool(self._tokens)

    def role_of(self, token: str) -> Role | None:
        """Returns the role of a token, None for a wrong one; always compares with every token, in constant time."""
        given = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        matching: Role | None = None
        for role, known in self._tokens:
            if hmac.compare_digest(given, hashlib.sha256(known.encode()).digest()):
                matching = matching or role
        return matching

    def wait_seconds(self, client: str) -> int:
        """How long this client has to wait until it may try a token again."""
        now = time.monotonic()
        while self._failures and self._failures[0][0] < now - FAILURES_SECONDS:
            self._failures.popleft()
        own = [at for at, failed in self._failures if failed == client]
        if len(own) < FAILURES_MAX and len(self._failures) < FAILURES_ALL_CLIENTS_MAX:
            return 0
        oldest = own[-FAILURES_MAX] if len(own) >= FAILURES_MAX else self._failures[0][0]
        return max(1, round(oldest + FAILURES_SECONDS - now))

    def record_failure(self, client: str) -> None:
        self._failures.append((time.monotonic(), client))

    def open_session(self, role: Role) -> tuple[Session, str]:
        """Returns a new session and its signed cookie."""
        session = Session(role, secrets.token_urlsafe(18), int(time.time()) + SESSION_SECONDS)
        body = msgspec.json.encode(session).hex()
        return session, f"{body}.{self._sign('session', body)}"

    def session(self, cookie: str | None) -> Session | None:
        """Returns the session of a cookie; None if we did not sign it or it has expired."""
        body, _, signature = (cookie or "").partition(".")
        if not hmac.compare_digest(self._sign("session", body).encode(), signature.encode("utf-8", "replace")):
            return None
        session = msgspec.json.decode(bytes.fromhex(body), type=Session)
        return session if session.until > time.time() else None

    def form_key(self, session: Session) -> str:
        """Returns the CSRF token that every form of this session carries."""
        return self._sign("form", session.nonce)

    def is_own_form(self, session: Session, key: str) -> bool:
        return hmac.compare_digest(self.form_key(session).encode(), key.encode("utf-8", "replace"))

    def _sign(self, purpose: str, text: str) -> str:
        return hmac.new(self._key, f"{purpose}\n{text}".encode(), hashlib.sha256).hexdigest()


def _session_key(seed: str) -> bytes:
    """Slow on purpose: whoever has a cookie can try tokens against its signature offline, where nothing counts them."""
    return hashlib.scrypt(seed.encode(), salt=b"settlement ops session", n=1 << 14, r=8, p=1, dklen=32)


SESSION: web.RequestKey[Session | None] = web.RequestKey("session", Session)
"""The key under which a request holds its session."""


def refuse_unsafe(settings: Settings, tokens: dict[Role, str]) -> None:
    """Requires OPS_TOKEN where OPS_HOST is not loopback, tokens that are long enough, and a different one per role."""
    if not is_loopback(settings.ops_host) and "operator" not in tokens:
        raise SettingsError(f"OPS_TOKEN is missing: OPS_HOST {settings.ops_host} can be reached from elsewhere")
    for role, token in tokens.items():
        if len(token) < TOKEN_CHARACTERS_MIN:
            name = "OPS_TOKEN" if role == "operator" else "OPS_VIEW_TOKEN"
            raise SettingsError(f"{name} takes a secret of at least {TOKEN_CHARACTERS_MIN} characters")
    if len(set(tokens.values())) < len(tokens):
        raise SettingsError("OPS_TOKEN and OPS_VIEW_TOKEN are the same: give two, one for each role")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def names_loopback(request: web.Request) -> bool:
    """Whether the Host header names loopback."""
    url = _split(f"//{request.host}")
    return url is not None and is_loopback(url.hostname or "")


def is_cross_origin(request: web.Request) -> bool:
    """Whether a page of another origin sent this form. Every browser sends one of the two headers, or both."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is None and origin is None:
        return True
    url = None if origin is None else _split(origin)
    return site not in (None, "same-origin") or (origin is not None and (url is None or url.netloc != request.host))


def _split(url: str) -> SplitResult | None:
    """None for what is no URL (`http://[`)."""
    try:
        return urlsplit(url)
    except ValueError:
        return None
