"""A payment connector to rehearse with: speaks the protocol, keeps a book, and misbehaves when asked."""

import asyncio
import json
import random
import time
from collections import deque
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from aiohttp import web
from msgspec import Struct, field

from worker.domain.money import EXPONENTS, to_major
from worker.sandbox.book import Book, Json

_OPERATIONS = {"settlements": "settle", "refunds": "refund", "cancellations": "cancel"}
_ID_FIELDS = {"settle": "settleId", "refund": "refundId", "cancel": "cancellationId"}
SILENCE_SECONDS = 120.0

# What `POST /faults` may ask for the next requests, one word each, and `--fault WORD=RATE` for any of them by chance.
FAULTS = {
    "ok": "do it and say so",
    "short": "do half of it and say so",
    "error": "answer 500 and do nothing",
    "lost": "do it and break the connection",
    "silence": "do it and never answer",
    "decline": "answer 400 and do nothing",
    "manual": "answer 501, somebody has to do it by hand",
    "busy": "answer 429, ask to wait a second",
    "echo": "do it and echo somebody else's request id",
    "forget": "do it again, although it was done before",
    "forbidden": "answer 403, as after a revoked key",
}

# Status, code, message and headers of those that move no money.
_REFUSALS: dict[str, tuple[int, str, str, dict[str, str]]] = {
    "error": (500, "internal", "try again", {}),
    "decline": (400, "declined", "not with us", {}),
    "manual": (501, "{operation}-manually", "do it by hand", {}),
    "busy": (429, "busy", "in a second", {"Retry-After": "1"}),
    "forbidden": (403, "forbidden", "who are you?", {}),
}


class Faults(Struct, frozen=True):
    """How the connector behaves by itself."""

    latency_ms: float = 0.0
    per_second: float | None = None
    currency: str = "BRL"
    rates: Mapping[str, float] = field(default_factory=dict)  # how often each word of FAULTS happens by chance


class SandboxConnector:
    """Believes every payment it is asked about; one effect per request id, unless told to forget."""

    def __init__(self, book: Book, faults: Faults, seed: int = 1) -> None:
        self.book = book
        self.faults = faults
        self._dice = random.Random(seed)
        self._next: deque[str] = deque()
        self._everything: tuple[str, float] | None = None
        self._free_at = 0.0

    def application(self) -> web.Application:
        """The server: the protocol, its manifest, the book and the faults."""
        app = web.Application(client_max_size=1 << 20)
        app.router.add_post("/payments/{payment}/{action}", self._operation)
        app.router.add_get("/manifest", _manifest)
        app.router.add_get("/book", self._show_book)
        app.router.add_post("/faults", self._plan)
        app.router.add_post("/auto-settle", self._auto_settle)
        return app

    async def _operation(self, http: web.Request) -> web.StreamResponse:
        operation = _OPERATIONS.get(http.match_info["action"])
        if operation is None:
            return web.json_response({"code": "unknown", "message": "no such operation"}, status=404)
        entry, problem = self._read(operation, http.match_info["payment"], await http.text())
        self.book.request({**entry, "atMs": time.time_ns() // 1_000_000})
        if problem:
            return self._refuse(entry, 400, "bad-request", problem)
        if self.faults.latency_ms:
            await asyncio.sleep(self._dice.uniform(0.5, 1.5) * self.faults.latency_ms / 1000)
        word = self._next.popleft() if self._next else self._during() or self._by_chance()
        return await self._answer(http, entry, word)

    def _read(self, operation: str, payment_id: str, text: str) -> tuple[Json, str]:
        try:
            body = json.loads(text, parse_float=Decimal)
            asked = Decimal(body["value"])
        except (ValueError, TypeError, KeyError, ArithmeticError):
            return {"operation": operation, "paymentId": payment_id, "requestId": "", "value": 0}, "no body to act on"
        exponent = 0 if operation == "cancel" else EXPONENTS[self.faults.currency]
        minor = asked.scaleb(exponent)
        entry = {
            "operation": operation, "paymentId": payment_id, "requestId": str(body.get("requestId", "")),
            "value": int(minor), "settleId": body.get("settleId"),
        }  # fmt: skip
        if minor != int(minor) or minor <= 0:
            return entry, f"value {asked} is not a positive whole number of minor units"
        if not entry["requestId"] or body.get("paymentId") != payment_id:
            return entry, "requestId is missing, or paymentId is not the path's"
        return entry, ""

    def _during(self) -> str | None:
        """What happens to every request until its time is over."""
        if self._everything is not None and asyncio.get_running_loop().time() >= self._everything[1]:
            self._everything = None
        return self._everything[0] if self._everything else None

    def _by_chance(self) -> str:
        roll = self._dice.random()
        for word, rate in self.faults.rates.items():
            if roll < rate:
                return word
            roll -= rate
        return "ok"

    async def _answer(self, http: web.Request, entry: Json, word: str) -> web.StreamResponse:
        if self.faults.per_second and (wait := self._wait_seconds(self.faults.per_second)):
            return self._refuse(entry, 429, "too-many", "slow down", {"Retry-After": str(max(1, round(wait)))})
        if (refusal := _REFUSALS.get(word)) is not None:
            status, code, message, headers = refusal
            return self._refuse(entry, status, code.format(operation=entry["operation"]), message, headers)
        if word == "short" and entry["operation"] != "cancel":  # a cancel's reply has no value to say it with
            entry = {**entry, "value": max(1, entry["value"] // 2)}
        effect = self.book.effect(entry, forgetful=word == "forget")
        if word == "silence":
            await asyncio.sleep(SILENCE_SECONDS)
        if word in ("lost", "silence"):
            if http.transport is not None:
                http.transport.abort()
            return web.Response(status=500)
        return self._done(effect, "somebody-elses" if word == "echo" else effect["requestId"])

    def _done(self, effect: Json, request_id: str) -> web.Response:
        reply: dict[str, Any] = {
            "paymentId": effect["paymentId"], "requestId": request_id, "code": None, "message": "done",
            _ID_FIELDS[effect["operation"]]: effect["operationId"],
        }  # fmt: skip
        text = json.dumps(reply)
        if effect["operation"] != "cancel":
            text = f'{text[:-1]}, "value": {to_major(effect["value"], self.faults.currency)}}}'
        return web.Response(text=text, content_type="application/json")

    def _refuse(
        self, entry: Json, status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> web.Response:
        body = {
            "paymentId": entry["paymentId"], "requestId": entry["requestId"], "code": code, "message": message,
            "value": 0, _ID_FIELDS[entry["operation"]]: None,
        }  # fmt: skip
        return web.json_response(body, status=status, headers=headers)

    def _wait_seconds(self, per_second: float) -> float:
        now = asyncio.get_running_loop().time()
        if now < self._free_at:
            return self._free_at - now
        self._free_at = now + 1 / per_second
        return 0.0

    async def _show_book(self, _: web.Request) -> web.Response:
        return web.json_response(self.book.as_json())

    def plan(self, words: Sequence[str]) -> None:
        """What happens to the next requests, one word each."""
        self._next.extend(words)

    async def _plan(self, http: web.Request) -> web.Response:
        """`{"next": ["error", "lost"]}`, or `{"all": "error", "for_seconds": 10}`."""
        asked = await http.json()
        words = asked.get("next", [])
        if unknown := {*words, asked.get("all", "ok")} - FAULTS.keys():
            return web.json_response({"unknown": sorted(unknown), "known": FAULTS}, status=400)
        self.plan(words)
        if "all" in asked:
            until = asyncio.get_running_loop().time() + float(asked.get("for_seconds", 60))
            self._everything = asked["all"], until
        return web.json_response({"planned": list(self._next)})

    async def _auto_settle(self, http: web.Request) -> web.Response:
        """`{"paymentId": "p", "value": 100}`: captures by itself, as some gateways do; the ERP has to be told (R27)."""
        asked = await http.json()
        request_id = f"auto-{len(self.book.effects) + 1}"
        effect = self.book.effect({
            "operation": "settle", "paymentId": str(asked["paymentId"]), "requestId": request_id,
            "value": int(asked["value"]), "settleId": None,
        })  # fmt: skip
        return web.json_response({"settleId": effect["operationId"], "value": effect["value"]})


async def _manifest(_: web.Request) -> web.Response:
    return web.json_response({"paymentMethods": [{"name": "Visa", "allowsSplit": "onCapture"}]})
