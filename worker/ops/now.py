"""The page *now*: what needs a person, money in flight, rates, connectors, and consumer lag."""

import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from aiohttp import web

from worker.domain.decision import EventType
from worker.ops import charts
from worker.ops.folding import MINUTE
from worker.ops.monitor import DeploymentMonitor
from worker.ops.row import DAY_MS
from worker.ops.site import Site
from worker.ops.totals import DAY_AMOUNTS, STATE_AMOUNTS, InFlight, Totals, positive
from worker.ops.view import View

CHART_MINUTES = 60
AVERAGED_MINUTES = 5
TABLE_MINUTES = 10
# Role → what waits while no worker of it is running.
WAITING = (("ledger", "invoices wait in Kafka"), ("delivery", "commands wait"))
SERIES = ("settled", "refunded", "voided", "trouble")
MOVED: tuple[EventType, ...] = ("settlement.confirmed", "refund.confirmed", "void.confirmed")
FAILURES: tuple[EventType, ...] = (
    "settlement.failed", "refund.failed", "void.failed", "command.unknown", "command.suspect", "command.manual",
)  # fmt: skip
OUTCOMES = ("command.succeeded", "command.declined", "command.unknown", "command.suspect", "command.manual")
DEFINITE_OUTCOMES = ("command.succeeded", "command.declined", "command.suspect", "command.manual")
# A connector is shown as answering after a definite answer of so many minutes, and not for longer.
ANSWERING_MINUTES = 10
ROLES = frozenset(role for role, _ in WAITING)

Health = Literal["answering", "no recent answer", "not known: no live worker"]


async def now_page(site: Site, request: web.Request) -> web.Response:
    """Shows what a person on call needs first."""
    totals, monitor = site.view.totals, site.monitor
    return site.show(
        request, "now.html", money=_money(site.view), rates=_rates(site.view),
        connectors=_connectors(site.view, monitor), lags=_lags(monitor), workers=monitor.workers, alerts=monitor.alerts,
        needing=positive(totals.attention), at_stake=_at_stake(totals), letters=monitor.dead_letters,
        statuses=totals.statuses, idle=_idle(monitor), has_looked=monitor.has_looked,
    )  # fmt: skip


def _idle(monitor: DeploymentMonitor) -> list[tuple[str, str]]:
    """Returns the roles without a living worker, and what waits for them."""
    return [(role, waits) for role, waits in WAITING if monitor.is_idle(role)]


def _at_stake(totals: Totals) -> dict[str, list[tuple[str, int]]]:
    """Returns for each kind of need the amounts that wait for a person, by currency."""
    amounts: dict[str, list[tuple[str, int]]] = {}
    for (kind, currency), amount in sorted(positive(totals.at_stake).items()):
        amounts.setdefault(kind, []).append((currency, amount))
    return amounts


def _money(view: View) -> list[dict[str, Any]]:
    """Returns a card per currency: what is in flight, and what was moved today (UTC)."""
    today = time.time_ns() // 1_000_000 // DAY_MS
    sums: dict[str, Counter[str]] = {}
    for (currency, _), money in view.totals.money.items():
        sums.setdefault(currency, Counter()).update(money)
    for (day, currency), moved in view.totals.moved.items():
        if day == today:
            sums.setdefault(currency, Counter()).update(moved)
    cards = []
    for currency, total in sorted(sums.items(), key=lambda item: -item[1]["orders"]):
        flight = [(name, label, total[name]) for name, label in
                  (("settling", "captures"), ("refunding", "refunds"), ("voiding", "voids"))]  # fmt: skip
        cards.append({"currency": currency, **{name: total[name] for name in (*STATE_AMOUNTS, *DAY_AMOUNTS, "orders")},
                      "flight": charts.bar(flight), "in_flight": sum(value for _, _, value in flight)})  # fmt: skip
    return cards


def _rates(view: View) -> dict[str, Any]:
    """Returns how often things happened per minute in the last hour, for the chart and the tables."""
    minutes = _last_minutes(CHART_MINUTES)
    counts = [_counts(view, minute) for minute in minutes]
    whole = counts[-AVERAGED_MINUTES - 1 : -1]  # the minute that is not over is left out
    averages = [sum(column) / AVERAGED_MINUTES for column in zip(*whole, strict=True)]
    latest = list(zip(minutes, counts, strict=True))[-TABLE_MINUTES:]
    return {
        "averaged_minutes": AVERAGED_MINUTES,
        "columns": charts.stacked(counts, SERIES),
        "most": max(map(sum, counts)),
        "per_minute": dict(zip(SERIES, averages, strict=True)),
        "hour": dict(zip(SERIES, map(sum, zip(*counts, strict=True)), strict=True)),
        "latest": [(datetime.fromtimestamp(minute, UTC), row) for minute, row in latest],
    }


def _counts(view: View, minute: int) -> list[int]:
    return [*(view.count(name, minute) for name in MOVED), sum(view.count(name, minute) for name in FAILURES)]


def _connectors(view: View, monitor: DeploymentMonitor) -> list[dict[str, Any]]:
    """Returns each connector: its alert, its open commands, and its answers in the last hour."""
    now_ms = time.time_ns() // 1_000_000
    oldest_ms: dict[str, int] = {}
    for command in view.totals.open_commands.values():
        if command.issued_ms < oldest_ms.get(command.connector, now_ms):
            oldest_ms[command.connector] = command.issued_ms
    in_flight: dict[str, list[tuple[str, InFlight]]] = {}
    for (connector, currency), commands in sorted(view.totals.in_flight.items(), key=lambda item: item[0]):
        in_flight.setdefault(connector, []).append((currency, commands))
    # Of several alerts the one that says why nothing definite is answered.
    by_cause = sorted(monitor.alerts, key=lambda alert: alert.code != "no_definite_answer")
    alerts = {alert.connector: alert for alert in by_cause if alert.connector}
    minutes = _last_minutes(CHART_MINUTES)
    connectors = []
    for name in sorted({*in_flight, *alerts}):
        flows = in_flight.get(name, [])
        answers = {kind: sum(view.count(f"{kind} {name}", minute) for minute in minutes) for kind in OUTCOMES}
        number = sum(answers.values())
        spent_ms = sum(view.count(f"answer-ms {name}", minute) for minute in minutes)
        connectors.append({
            "name": name, "alert": alerts.get(name), "flows": [flow for flow in flows if flow[1].commands],
            "commands": sum(flow.commands for _, flow in flows), "troubled": sum(flow.troubled for _, flow in flows),
            "oldest_seconds": (now_ms - oldest_ms[name]) / 1000 if name in oldest_ms else None,
            "health": _health(name, view, monitor),
            "answers": answers, "number": number, "answer_ms": spent_ms // number if number else None,
        })  # fmt: skip
    return connectors


def _health(name: str, view: View, monitor: DeploymentMonitor) -> Health:
    """Returns what is known of a connector without an alert: alerts are known only from workers that live."""
    living = {worker.role for worker in monitor.workers}
    answered = any(
        view.count(f"{kind} {name}", minute)
        for kind in DEFINITE_OUTCOMES
        for minute in _last_minutes(ANSWERING_MINUTES)
    )
    if answered and "delivery" in living:
        return "answering"
    return "no recent answer" if living >= ROLES else "not known: no live worker"


def _last_minutes(number: int) -> Sequence[int]:
    current = int(time.time()) // MINUTE * MINUTE
    return range(current - MINUTE * (number - 1), current + 1, MINUTE)


def _lags(monitor: DeploymentMonitor) -> list[dict[str, Any]]:
    """Returns for each role how many records wait, in all and by partition."""
    return [
        {"role": role, "total": sum(lags), "most": max(lags, default=0), "partitions": list(enumerate(lags))}
        for role, lags in monitor.lags.items()
    ]
