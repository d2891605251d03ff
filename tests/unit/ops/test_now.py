"""The page *now* does not say that all is well while a worker, a server or a reading is missing."""

import re
import time
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from worker.ops.html import render
from worker.ops.monitor import Alert, Outage, Worker
from worker.ops.now import _at_stake, _connectors, _idle, _lags
from worker.ops.totals import Totals
from worker.ops.words import STATUSES

AT = datetime(2026, 1, 15, 12, tzinfo=UTC)
RATES = {name: dict.fromkeys(("settled", "refunded", "voided", "trouble"), 0) for name in ("per_minute", "hour")}
ALL_IS_WELL = "Every cent is accounted for"


def monitoring(*roles: str) -> Any:
    return SimpleNamespace(
        workers=[Worker(role, "m", "host", AT, 12) for role in roles], lags={"ledger": [0]}, has_looked=True,
        is_idle=lambda role: role not in roles,
    )  # fmt: skip


def page(
    monitor: Any, incomplete: str | None = None, outages: tuple[Outage, ...] = (), alerts: tuple[Alert, ...] = (),
    connectors: Any = (), needing: Any = None, at_stake: Any = None, letters: Any = None,
) -> str:  # fmt: skip
    return render(
        "now.html", now=AT, path="/", session="viewer", attention=0, open_letters=0, money=[], connectors=connectors,
        deployment="", form_key="", logs_out=False, incomplete=incomplete, outages=outages, noted=None,
        lags=_lags(monitor), alerts=alerts, needing=needing or {}, at_stake=at_stake or {}, letters=letters or {},
        statuses=dict.fromkeys(STATUSES, 0), workers=monitor.workers, idle=_idle(monitor),
        has_looked=monitor.has_looked,
        rates={**RATES, "averaged_minutes": 5, "columns": [], "most": 0, "latest": []},
    )  # fmt: skip


@pytest.mark.parametrize(("running", "shown"), [
    (("ledger", "delivery"), ()),
    (("ledger",), ("No delivery worker is running",)),
    ((), ("No ledger worker is running", "No delivery worker is running")),
])  # fmt: skip
def test_a_role_without_a_worker_is_shown(running: tuple[str, ...], shown: tuple[str, ...]):
    text = page(monitoring(*running))

    assert all(sentence in text for sentence in shown)
    assert (ALL_IS_WELL in text) == (not shown)


@pytest.mark.parametrize(("code", "shown"), [
    ("unknown_connector", "cielo is not in the connectors file"), ("breaker_open", "cielo does not answer"),
    ("connector_stopped", "cielo refuses us"), ("no_definite_answer", "cielo gives no definite answer"),
])  # fmt: skip
def test_an_alert_about_a_connector_is_shown_as_a_sentence(code: str, shown: str):
    text = page(monitoring("ledger", "delivery"), alerts=(Alert(code, "cielo", AT, "", "host"),))

    assert shown in words(text)


@pytest.mark.parametrize(("has_looked", "incomplete", "outages"), [
    (False, None, ()),
    (True, "the view is reading its tables from Kafka", ()),
    (True, None, (Outage("Orders", "Kafka did not answer in time", None),)),
])  # fmt: skip
def test_an_incomplete_page_does_not_say_that_all_is_well(
    has_looked: bool, incomplete: str | None, outages: tuple[Outage, ...]
):
    monitor = monitoring("ledger", "delivery")
    monitor.has_looked = has_looked

    text = page(monitor, incomplete, outages)

    assert ALL_IS_WELL not in text
    assert "not everything is known" in text


def test_the_money_that_needs_a_person_is_shown_by_currency():
    totals = Totals()
    totals.at_stake.update({("failed", "JPY"): 500, ("failed", "BRL"): 1_234_567, ("manual", "BRL"): 0})

    text = page(monitoring("ledger", "delivery"), needing={"failed": 3}, at_stake=_at_stake(totals))

    assert "3 failed 12,345.67 BRL , 500 JPY the connector declined it" in words(text)


def test_dead_letters_that_are_commands_are_shown_apart_as_they_are_counted_twice():
    letters = {"declined": 2_000, "rejected": 3, "suspect": 1, "invalid": 1}

    text = words(page(monitoring("ledger", "delivery"), letters=letters))

    assert (
        "2,005 dead letters rejected 3, invalid of commands, mostly counted above too: declined 2,000, suspect" in text
    )


@pytest.mark.parametrize(
    ("lag", "shown"), [(0, "reads as fast as it comes"), (1, "1 record waits"), (2, "2 records wait")]
)
def test_the_records_that_wait_are_counted(lag: int, shown: str):
    monitor = monitoring("ledger")
    monitor.lags = {"ledger": [lag]}

    assert f"ledger {shown}" in words(page(monitor))


@pytest.mark.parametrize(("answered_at", "shown"), [
    (AT, "Orders may be as they were at 12:00:00: Kafka did not answer"),
    (None, "Orders are not known yet: Kafka did not answer"),
])  # fmt: skip
def test_a_page_says_what_is_out_of_date_since_when_and_why(answered_at: datetime | None, shown: str):
    text = page(monitoring("ledger", "delivery"), outages=(Outage("Orders", "Kafka did not answer", answered_at),))

    assert shown in words(text)


def words(page: str) -> str:
    return " ".join(re.sub("<[^>]*>", " ", page).split())


def connector_page(outcomes: dict[str, int], *alerts: Alert, running: tuple[str, ...] = ("ledger", "delivery")) -> str:
    """The text of the page with one command in flight at cielo; `outcomes`: each kind, and how many minutes ago."""
    this_minute = int(time.time()) // 60 * 60
    totals = SimpleNamespace(
        open_commands={}, in_flight={("cielo", "BRL"): SimpleNamespace(commands=1, troubled=0, value=100)}
    )
    view: Any = SimpleNamespace(
        totals=totals,
        count=lambda name, minute: int(outcomes.get(name.removesuffix(" cielo"), -1) == (this_minute - minute) // 60),
    )
    monitor = monitoring(*running)
    monitor.alerts = list(alerts)
    return words(page(monitor, connectors=_connectors(view, monitor)))


def test_a_connector_is_shown_as_answering_only_after_a_recent_definite_answer():
    assert "cielo answering" in connector_page({"command.declined": 2})
    assert "cielo no recent answer" in connector_page({"command.succeeded": 40})
    assert "cielo no recent answer" in connector_page({"command.unknown": 2})
    assert "no definite answer" in connector_page({})


def test_a_connector_without_definite_answers_is_shown_so_unless_its_breaker_is_open():
    indefinite, away = (Alert(code, "cielo", AT, "", "h") for code in ("no_definite_answer", "breaker_open"))

    assert "cielo gives no definite answer" in connector_page({"command.declined": 2}, indefinite)
    assert "cielo does not answer" in connector_page({}, away, indefinite)
    assert "cielo does not answer" in connector_page({}, indefinite, away)


@pytest.mark.parametrize(("running", "health"), [
    (("ledger", "delivery"), "answering"), (("delivery",), "answering"),
    (("ledger",), "not known: no live worker"), ((), "not known: no live worker"),
])  # fmt: skip
def test_the_state_of_a_connector_is_unknown_without_a_delivery_worker(running: tuple[str, ...], health: str):
    assert f"cielo {health}" in connector_page({"command.succeeded": 2}, running=running)


def test_a_connector_without_answers_is_unknown_without_a_ledger_worker():
    text = connector_page({}, running=("delivery",))

    assert "cielo not known: no live worker" in text
    assert "its alerts are not known" in text
