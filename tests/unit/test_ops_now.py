"""The page *now* never says that all is well while somebody is missing."""

import re
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from worker.ops.html import render
from worker.ops.monitor import Alert, Worker
from worker.ops.now import _idle, _lags

AT = datetime(2026, 1, 15, 12, tzinfo=UTC)
RATES = {name: dict.fromkeys(("settled", "refunded", "voided", "trouble"), 0) for name in ("per_minute", "hour")}
CALM = "Every cent is accounted for"


def monitoring(*roles: str) -> Any:
    return SimpleNamespace(workers=[Worker(role, "m", "host", AT, 12) for role in roles], lags={"ledger": [0]})


def page(
    monitor: Any, incomplete: str | None = None, monitor_problem: str | None = None, alerts: tuple[Alert, ...] = ()
) -> str:
    return render(
        "now.html", now=AT, path="/", session="viewer", attention=0, open_letters=0, money=[], connectors=[],
        deployment="", form_key="", logs_out=False, incomplete=incomplete, monitor_problem=monitor_problem, noted=None,
        lags=_lags(monitor), alerts=alerts, needing={}, letters={},
        statuses=dict.fromkeys(("open", "invoiced", "attention", "finished",
        "canceled"), 0), rates={**RATES, "columns": [], "most": 0, "recent": []}, workers=monitor.workers,
        idle=_idle(monitor),
    )  # fmt: skip


@pytest.mark.parametrize(("living", "says"), [
    (("ledger", "delivery"), ()),
    (("ledger",), ("No delivery worker is running",)),
    ((), ("No ledger worker is running", "No delivery worker is running")),
])  # fmt: skip
def test_a_role_that_nobody_has_needs_a_person(living: tuple[str, ...], says: tuple[str, ...]):
    text = page(monitoring(*living))

    assert all(one in text for one in says)
    assert (CALM in text) == (not says)


def test_before_the_first_look_around_nobody_is_missed():
    assert _idle(SimpleNamespace(workers=[], lags={})) == []


@pytest.mark.parametrize(("code", "says"), [
    ("unknown_connector", "cielo is not in the connectors file"), ("breaker_open", "cielo does not answer"),
    ("connector_stopped", "cielo refuses us"),
])  # fmt: skip
def test_an_alert_about_a_connector_reads_as_a_sentence(code: str, says: str):
    text = page(monitoring("ledger", "delivery"), alerts=(Alert(code, "cielo", AT, "", "host"),))

    assert says in " ".join(re.sub("<[^>]*>", " ", text).split())


@pytest.mark.parametrize(("lags", "incomplete", "monitor_problem"), [
    ({}, None, None),
    ({"ledger": [0]}, "the view is reading its tables from Kafka", None),
    ({"ledger": [0]}, None, "ConnectionRefusedError: the database"),
])  # fmt: skip
def test_while_not_everything_is_known_nothing_is_said_to_be_well(
    lags: dict[str, list[int]], incomplete: str | None, monitor_problem: str | None
):
    workers = monitoring("ledger", "delivery").workers

    text = page(SimpleNamespace(workers=workers, lags=lags), incomplete, monitor_problem)

    assert CALM not in text
    assert "not everything is known" in text
