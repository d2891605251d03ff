"""The page *now*: money under way, rates, connectors, lag, and what needs a person."""

import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from worker.domain.decision import EventType
from worker.ops import pictures
from worker.ops.row import DAY_MS
from worker.ops.site import Site
from worker.ops.surroundings import Surroundings
from worker.ops.totals import LIVE, MOVES
from worker.ops.view import MINUTE, View

CHART_MINUTES = 60
RECENT_MINUTES = 5
WAITING = (("ledger", "invoices wait in Kafka"), ("delivery", "commands wait"))
SERIES = ("settled", "refunded", "voided", "trouble")
MOVED: tuple[EventType, ...] = ("settlement.confirmed", "refund.confirmed", "void.confirmed")
FAILURES: tuple[EventType, ...] = (
    "settlement.failed", "refund.failed", "void.failed", "command.unknown", "command.suspect", "command.manual",
)  # fmt: skip
OUTCOMES = ("command.succeeded", "command.declined", "command.unknown", "command.suspect", "command.manual")


async def now_page(site: Site, request: web.Request) -> web.Response:
    """Everything that a person on call asks first."""
    totals, around = site.view.totals, site.around
    return site.show(
        request, "now.html", money=_money(site.view), rates=_rates(site.view),
        connectors=_connectors(site.view, around), lags=_lags(around), workers=around.workers, alerts=around.alerts,
        needing=+totals.attention, letters=around.dead_letters, statuses=totals.statuses, idle=_idle(around),
    )  # fmt: skip


def _idle(around: Surroundings) -> list[tuple[str, str]]:
    """Roles without a living worker, and what waits for them; empty until the first look."""
    living = {one.role for one in around.workers}
    return [(role, waits) for role, waits in WAITING if role not in living] if around.lags else []


def _money(view: View) -> list[dict[str, Any]]:
    """One card per currency: what is under way, and what moved today (UTC)."""
    today = time.time_ns() // 1_000_000 // DAY_MS
    sums: dict[str, Counter[str]] = {}
    for (currency, _), money in view.totals.money.items():
        sums.setdefault(currency, Counter()).update(money)
    for (day, currency), moved in view.totals.moved.items():
        if day == today:
            sums.setdefault(currency, Counter()).update(moved)
    cards = []
    for currency, found in sorted(sums.items(), key=lambda one: -one[1]["orders"]):
        flight = [(name, label, found[name]) for name, label in
                  (("settling", "captures"), ("refunding", "refunds"), ("voiding", "voids"))]  # fmt: skip
        cards.append({"currency": currency, **{name: found[name] for name in (*LIVE, *MOVES, "orders")},
                      "flight": pictures.bar(flight), "in_flight": sum(value for _, _, value in flight)})  # fmt: skip
    return cards


def _rates(view: View) -> dict[str, Any]:
    """What happened in each of the last minutes."""
    minutes = _last_minutes(CHART_MINUTES)
    counts = [_counts(view, minute) for minute in minutes]
    recent = [sum(column) / RECENT_MINUTES for column in zip(*counts[-RECENT_MINUTES - 1 : -1], strict=True)]
    return {
        "columns": pictures.stacked(counts, SERIES),
        "most": max(map(sum, counts)),
        "per_minute": dict(zip(SERIES, recent, strict=True)),
        "hour": dict(zip(SERIES, map(sum, zip(*counts, strict=True)), strict=True)),
        "recent": [(datetime.fromtimestamp(minute, UTC), one) for minute, one in zip(minutes, counts, strict=True)][
            -10:
        ],
    }


def _counts(view: View, minute: int) -> list[int]:
    return [*(view.count(name, minute) for name in MOVED), sum(view.count(name, minute) for name in FAILURES)]


def _connectors(view: View, around: Surroundings) -> list[dict[str, Any]]:
    """Each connector: how it is, what is on its way to it, and how it answered in the last hour."""
    now_ms = time.time_ns() // 1_000_000
    oldest: dict[str, int] = {}
    for asked in view.totals.asked.values():
        if asked.issued_ms < oldest.get(asked.connector, now_ms):
            oldest[asked.connector] = asked.issued_ms
    ways: dict[str, list[Any]] = {}
    for (connector, currency), way in sorted(view.totals.ways.items()):
        ways.setdefault(connector, []).append((currency, way))
    alerts = {one.connector: one for one in around.alerts if one.connector}
    minutes = _last_minutes(CHART_MINUTES)
    found = []
    for name in sorted({*ways, *alerts}):
        answers = {kind: sum(view.count(f"{kind} {name}", one) for one in minutes) for kind in OUTCOMES}
        number = sum(answers.values())
        spent = sum(view.count(f"answer-ms {name}", one) for one in minutes)
        found.append({
            "name": name, "alert": alerts.get(name), "ways": [one for one in ways.get(name, []) if one[1].commands],
            "commands": sum(way.commands for _, way in ways.get(name, [])),
            "troubled": sum(way.troubled for _, way in ways.get(name, [])),
            "oldest_seconds": (now_ms - oldest[name]) / 1000 if name in oldest else None,
            "answers": answers, "number": number, "answer_ms": spent // number if number else None,
        })  # fmt: skip
    return found


def _last_minutes(number: int) -> Sequence[int]:
    this = int(time.time()) // MINUTE * MINUTE
    return range(this - MINUTE * (number - 1), this + 1, MINUTE)


def _lags(around: Surroundings) -> list[dict[str, Any]]:
    """Per worker: how many records wait, and in which partition how many."""
    return [
        {"role": role, "total": sum(lags), "most": max(lags, default=0), "partitions": list(enumerate(lags))}
        for role, lags in around.lags.items()
    ]
