"""Sends one command to its connector and returns what came back, without classifying it."""

import asyncio
import ssl
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from functools import cached_property
from http.cookiejar import DefaultCookiePolicy
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import aiohttp
import httpx
import msgspec
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from httpx_aiohttp import AiohttpTransport
from msgspec import Struct
from msgspec.structs import replace

from worker.connector.command import Command, action, body
from worker.connector.file import Connector
from worker.connector.resolving import Resolver
from worker.connector.secret import SecretError
from worker.domain.order import Operation

RESPONSE_BYTES_MAX = 1 << 20
# Shorter than servers keep idle connections: if they close one while we write, the attempt counts as unknown.
KEEPALIVE_SECONDS = 4.0
ENCODINGS = ("gzip", "x-gzip", "deflate")
GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
WITHHELD = "[withheld]"
UNSENDABLE = "payment_id_unsendable"  # only dots: every server reads it as a path segment like `..`
USER_AGENT = "partial-settlement"


class Reply(Struct, frozen=True):
    """The connector answered. `whole` is false if the body broke off (`cut`) or was too large to read."""

    status: int
    body: bytes
    retry_after: str | None = None
    whole: bool = True
    cut: bool = False
    secrets: tuple[str, ...] = ()

    def withhold(self, text: str) -> str:
        """The connector's text without our credentials, which it may repeat: fit for a log, a topic or a page."""
        for secret in self.secrets:
            text = text.replace(secret, WITHHELD)
        return text


class NoAnswer(Struct, frozen=True):
    """No answer came. `begun`: the first byte may have been sent."""

    begun: bool
    code: str
    message: str


class NotTried(Struct, frozen=True):
    """Nothing was sent, for a reason on our side."""

    code: str
    message: str


CallResult = Reply | NoAnswer | NotTried


class _Call(Struct):
    """Passed to aiohttp's session below httpx: the path to send, and whether its first byte was sent."""

    path: str = ""
    begun: bool = False


_call: ContextVar[_Call] = ContextVar("call")


class Client:
    """All calls to one connector. A call ends by itself, at the latest after `timeout_seconds`."""

    def __init__(self, connector: Connector, tls: ssl.SSLContext) -> None:
        self.connector = connector
        self._http = httpx.AsyncClient(
            # Without `verify` the transport reads every certificate authority again, 24 ms for each connector.
            transport=AiohttpTransport(verify=tls, client=lambda: _session(tls)),
            follow_redirects=False, trust_env=False,
            timeout=httpx.Timeout(connector.timeout_seconds), headers=_fixed_headers(connector),
        )  # fmt: skip
        self._http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))

    @cached_property
    def _url(self) -> httpx.URL:
        """Parsed within a call, so that an address that httpx refuses fails like one that does not answer."""
        return httpx.URL(self.connector.url)

    async def send(self, operation: Operation, command: Command, traceparent: str | None = None) -> CallResult:
        """Sends one request. Never raises; must not be cancelled."""
        if not command.payment_id.strip("."):
            return NotTried(UNSENDABLE, f"the paymentId {command.payment_id!r} cannot be part of a URL")
        try:
            headers = self._credentials()
        except SecretError as problem:
            return NotTried("credentials_unreadable", str(problem))
        secrets = tuple(_as_written(headers.values()))
        if traceparent is not None:
            headers["traceparent"] = traceparent
        call = _Call()
        _call.set(call)
        try:
            async with asyncio.timeout(self.connector.timeout_seconds):
                request = self._request(operation, command, headers)
                call.path = request.url.raw_path.decode("ascii")
                response = await self._http.send(request, stream=True)
                try:
                    return replace(await _read(response), secrets=secrets)
                finally:
                    await response.aclose()
        except Exception as problem:  # noqa: BLE001 - whatever fails, all that counts is whether a byte may have been sent
            return _no_answer(call.begun, problem)

    async def close(self) -> None:
        """Closes all connections."""
        await self._http.aclose()

    def _request(self, operation: Operation, command: Command, headers: dict[str, str]) -> httpx.Request:
        path = f"/payments/{quote(command.payment_id, safe='')}/{action(operation)}"
        url = self._url.copy_with(raw_path=self._url.raw_path.rstrip(b"/") + path.encode())
        return self._http.build_request("POST", url, headers=headers, content=body(operation, command, self.connector))

    def _credentials(self) -> dict[str, str]:
        """Reads the credentials for each call: a rotated one is used at once, and none is kept after its reply."""
        prefix = "X-PROVIDER-API" if self.connector.provider_headers else "X-VTEX-API"
        named = (("AppKey", self.connector.app_key), ("AppToken", self.connector.app_token))
        return {f"{prefix}-{name}": secret.read() for name, secret in named if secret is not None}


def tls_context() -> ssl.SSLContext:
    """The one context that all clients share: certificates are verified."""
    return httpx.create_ssl_context()


def _fixed_headers(connector: Connector) -> dict[str, str]:
    headers = {
        "Accept": "application/json", "Content-Type": "application/json", "User-Agent": USER_AGENT,
        "Accept-Encoding": "identity",
    }  # fmt: skip
    return headers | ({"X-VTEX-API-Is-TestSuite": "true"} if connector.test_suite else {})


class _Connections(aiohttp.TCPConnector):
    """Drops idle connections on which bytes have arrived: they would be read as the answer to the next command."""

    async def _get(self, key: ConnectionKey, traces: list[Trace]) -> Connection | None:
        while (connection := await super()._get(key, traces)) is not None:
            if connection.protocol is not None and not connection.protocol.should_close:
                break
            connection.close()
        return connection


def _session(tls: ssl.SSLContext) -> aiohttp.ClientSession:
    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(_note_first_byte)
    return aiohttp.ClientSession(
        connector=_Connections(limit=0, keepalive_timeout=KEEPALIVE_SECONDS, ssl=tls, resolver=Resolver()),
        cookie_jar=aiohttp.DummyCookieJar(), trace_configs=[trace], middlewares=[_keep_path, _drop_reason],
    )  # fmt: skip


async def _note_first_byte(_: aiohttp.ClientSession, __: SimpleNamespace, ___: Any) -> None:
    _call.get().begun = True


async def _keep_path(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Sends the path as we encoded it: aiohttp decodes %3B, and many servers end a path at the first `;`."""
    request.url = request.url.with_path(_call.get().path, encoded=True)
    return await handler(request)


async def _drop_reason(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Drops the reason phrase: it may be in any encoding, and httpx accepts only UTF-8."""
    response = await handler(request)
    response.reason = None
    return response


async def _read(response: httpx.Response) -> Reply:
    chunks: list[bytes] = []
    size, whole, cut = 0, True, False
    try:
        async for chunk in response.aiter_raw():
            size += len(chunk)
            if size > RESPONSE_BYTES_MAX:
                whole = False
                break
            chunks.append(chunk)
    except (httpx.HTTPError, aiohttp.ClientError, OSError):
        whole, cut = False, True
    reply = Reply(response.status_code, b"".join(chunks), response.headers.get("retry-after"), whole, cut)
    encoding = response.headers.get("content-encoding", "identity").lower()
    return reply if encoding == "identity" or not (whole and reply.body) else _inflated(reply, encoding)


def _inflated(reply: Reply, encoding: str) -> Reply:
    """Decompresses up to the size limit. We ask for no encoding, but some servers compress all the same."""
    inflater = zlib.decompressobj(GZIP_OR_ZLIB)
    try:
        body = inflater.decompress(reply.body, RESPONSE_BYTES_MAX) if encoding in ENCODINGS else b""
    except zlib.error:
        body = b""
    too_large = len(body) == RESPONSE_BYTES_MAX
    return replace(reply, body=body, whole=inflater.eof, cut=not inflater.eof and not too_large)


def _as_written(credentials: Iterable[str]) -> Iterator[str]:
    """Each credential in every form in which a reply may repeat it."""
    for credential in credentials:
        in_json = msgspec.json.encode(credential)[1:-1].decode()
        yield from dict.fromkeys((credential, in_json, in_json.replace("/", r"\/")))


def _no_answer(begun: bool, problem: BaseException) -> NoAnswer:
    """Names the deepest cause: its text never contains headers, and httpx calls most causes a timeout."""
    chain = list(_causes(problem))
    cause, code = next(
        ((one, code) for kinds, code in _CODES for one in chain if isinstance(one, kinds)), (problem, "broken")
    )
    text = next((one.strerror for one in reversed(chain) if isinstance(one, OSError) and one.strerror), None)
    return NoAnswer(begun, code, f"{code}: {text or type(cause).__name__}")


def _causes(problem: BaseException | None) -> Sequence[BaseException]:
    chain: list[BaseException] = []
    while problem is not None and problem not in chain:
        chain.append(problem)
        problem = problem.__cause__ or problem.__context__
    return chain


_CODES: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((aiohttp.ClientConnectorDNSError,), "dns"),
    ((aiohttp.ClientSSLError, ssl.SSLError, aiohttp.ServerFingerprintMismatch), "tls"),
    ((TimeoutError,), "timeout"),  # after DNS and TLS, since httpx raises its timeout for those too
    ((aiohttp.ClientConnectorError,), "connect"),
    ((aiohttp.ServerDisconnectedError, ConnectionError, aiohttp.ClientOSError), "reset"),
)
