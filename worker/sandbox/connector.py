"""A simulated payment connector: it speaks the protocol, keeps a book, and fails in the ways that it is told to."""

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

# The words that `POST /faults` plans for the next requests, and `--fault WORD=RATE` for requests at random.
FAULTS = {
    "ok": "do it and answer",
    "short": "do half of it and answer with that value",
    "error": "answer 500 and do nothing",
    "lost": "do it and break the connection",
    "silence": "do it and never answer",
    "decline": "answer 400 and do nothing",
    "manual": "answer 501: a person has to do it by hand",
    "busy": "answer 429 and ask to wait for a second",
    "echo": "do it and answer with another request id",
    "forget": "do it again, even if it was done before",
    "forbidden": "answer 403, as after a revoked key",
}

# Status, code, message and headers of the faults that move no money.
_REFUSALS: dict[str, tuple[int, str, str, dict[str, str]]] = {
    "error": (500, "internal", "try again", {}),
    "decline": (400, "declined", "not with us", {}),
    "manual": (501, "{operation}-manually", "do it by hand", {}),
    "busy": (429, "busy", "in a second", {"Retry-After": "1"}),
    "forbidden": (403, "forbidden", "who are you?", {}),
}


class Behaviour(Struct, frozen=True):
    """How the connector behaves towards requests for which nothing is planned."""

    latency_ms: float = 0.0
    per_second: float | None = None
    currency: str = "BRL"
    rates: Mapping[str, float] = field(default_factory=dict)  # the probability of each word of FAULTS


class SandboxConnector:
    """Takes every payment id for an existing payment; one effect per request id, except with the fault "forget"."""

    def __init__(self, book: Book, behaviour: Behaviour, seed: int = 1) -> None:
        self.book = book
        self.behaviour = behaviour
        self._random = random.Random(seed)
        self._planned: deque[str] = deque()
        self._fault_for_all: tuple[str, float] | None = None  # the word, and the loop's time when it ends
        self._next_free_at = 0.0

    def application(self) -> web.Application:
        """The HTTP server: the protocol with its manifest, the book, the faults and automatic settlements."""
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
        self.book.record_request({**entry, "atMs": time.time_ns() // 1_000_000})
        if problem:
            return self._refuse(entry, 400, "bad-request", problem)
        if self.behaviour.latency_ms:
            await asyncio.sleep(self._random.uniform(0.5, 1.5) * self.behaviour.latency_ms / 1000)
        word = self._planned.popleft() if self._planned else self._current_fault_for_all() or self._random_fault()
        return await self._answer(http, entry, word)

    def _read(self, operation: str, payment_id: str, text: str) -> tuple[Json, str]:
        try:
            body = json.loads(text, parse_float=Decimal)
            value = Decimal(body["value"])
        except (ValueError, TypeError, KeyError, ArithmeticError):
            return {"operation": operation, "paymentId": payment_id, "requestId": "", "value": 0}, "no body to act on"
        exponent = 0 if operation == "cancel" else EXPONENTS[self.behaviour.currency]
        minor = value.scaleb(exponent)
        entry = {
            "operation": operation, "paymentId": payment_id, "requestId": str(body.get("requestId", "")),
            "value": int(minor), "settleId": body.get("settleId"),
        }  # fmt: skip
        if minor != int(minor) or minor <= 0:
            return entry, f"value {value} is not a positive whole number of minor units"
        if not entry["requestId"] or body.get("paymentId") != payment_id:
            return entry, "requestId is missing, or paymentId is not the path's"
        return entry, ""

    def _current_fault_for_all(self) -> str | None:
        """The word planned for all requests, until its time is over."""
        if self._fault_for_all is not None and asyncio.get_running_loop().time() >= self._fault_for_all[1]:
            self._fault_for_all = None
        return self._fault_for_all[0] if self._fault_for_all else None

    def _random_fault(self) -> str:
        roll = self._random.random()
        for word, rate in self.behaviour.rates.items():
            if roll < rate:
                return word
            roll -= rate
        return "ok"

    async def _answer(self, http: web.Request, entry: Json, word: str) -> web.StreamResponse:
        if self.behaviour.per_second and (wait := self._wait_seconds(self.behaviour.per_second)):
            return self._refuse(entry, 429, "too-many", "slow down", {"Retry-After": str(max(1, round(wait)))})
        if (refusal := _REFUSALS.get(word)) is not None:
            status, code, message, headers = refusal
            return self._refuse(entry, status, code.format(operation=entry["operation"]), message, headers)
        if word == "short" and entry["operation"] != "cancel":  # the reply to a cancel has no value
            entry = {**entry, "value": max(1, entry["value"] // 2)}
        effect = self.book.record_effect(entry, forgetful=word == "forget")
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
            text = f'{text[:-1]}, "value": {to_major(effect["value"], self.behaviour.currency)}}}'
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
        """How long the client has to wait; 0 if it may go on, which takes this turn."""
        now = asyncio.get_running_loop().time()
        if now < self._next_free_at:
            return self._next_free_at - now
        self._next_free_at = now + 1 / per_second
        return 0.0

    async def _show_book(self, _: web.Request) -> web.Response:
        return web.json_response(self.book.as_json())

    def plan(self, words: Sequence[str]) -> None:
        """Plans the next requests, one word of FAULTS for each."""
        self._planned.extend(words)

    async def _plan(self, http: web.Request) -> web.Response:
        """Takes `{"next": ["error", "lost"]}`, or `{"all": "error", "for_seconds": 10}`."""
        plan = await http.json()
        words = plan.get("next", [])
        if unknown := {*words, plan.get("all", "ok")} - FAULTS.keys():
            return web.json_response({"unknown": sorted(unknown), "known": FAULTS}, status=400)
        self.plan(words)
        if "all" in plan:
            until = asyncio.get_running_loop().time() + float(plan.get("for_seconds", 60))
            self._fault_for_all = plan["all"], until
        return web.json_response({"planned": list(self._planned)})

    async def _auto_settle(self, http: web.Request) -> web.Response:
        """Takes `{"paymentId": "p", "value": 100}`; captures by itself, as some gateways do; tell the ERP (R27)."""
        body = await http.json()
        request_id = f"auto-{len(self.book.effects) + 1}"
        effect = self.book.record_effect({
            "operation": "settle", "paymentId": str(body["paymentId"]), "requestId": request_id,
            "value": int(body["value"]), "settleId": None,
        })  # fmt: skip
        return web.json_response({"settleId": effect["operationId"], "value": effect["value"]})


async def _manifest(_: web.Request) -> web.Response:
    return web.json_response({"paymentMethods": [{"name": "Visa", "allowsSplit": "onCapture"}]})
