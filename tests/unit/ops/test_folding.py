"""The records of a batch become rows and sums, whatever headers they carry; what nobody needs any more is deleted."""

from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from worker.domain.order import Order
from worker.domain.published import order_state
from worker.kafka import names
from worker.ops import folding
from worker.ops.folding import Folding

KINDS = {names.ORDERS: "state", names.COMMANDS: "command"}
COMMAND = {"orderId": "early", "commandId": "c", "paymentId": "p", "connector": "cielo", "value": 1, "sequence": 1,
           "issuedAt": "2026-01-15T12:00:00Z"}  # fmt: skip


class Table(dict[Any, Any]):
    """A table of Faust, as far as a fold uses it."""

    @property
    def data(self) -> "Table":
        return self

    def relative_to(self, _: float) -> Any:
        return self

    def __missing__(self, _: str) -> Any:
        return SimpleNamespace(apply=lambda *_: None)


def record(value: bytes, topic: str = names.ORDERS, kind: bytes | None = None) -> Any:
    message = SimpleNamespace(topic=topic, partition=0, offset=0, timestamp=0.0)
    return SimpleNamespace(message=message, headers={"ce_type": kind}, value=value)


def state(order_id: str) -> bytes:
    return orjson.dumps(order_state(Order(order_id, merchant="shop", currency="USD", mode="PARTIAL", value=100)))


def test_a_record_without_headers_is_folded_and_one_that_cannot_be_read_is_skipped():
    rows = Table()
    view = Folding(rows, Table(), KINDS)

    with capture_logs() as logged:
        view.fold([record(b"no JSON"), record(state("o"))])

    assert [(key, row.state.merchant) for key, row in rows.items()] == [(b"o", "shop")]
    assert view.totals.merchants() == ["shop"]
    assert [line["event"] for line in logged] == ["the view cannot read a record"]


def test_a_row_that_never_gets_a_state_is_deleted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(folding, "EXPIRY_CHECK_SECONDS", -1)
    rows = Table()
    view = Folding(rows, Table(), KINDS)
    view.fold([record(orjson.dumps(COMMAND), names.COMMANDS)])
    assert (list(rows), list(view.totals.open_commands)) == ([b"early"], ["c"])

    monkeypatch.setattr(folding, "STATELESS_SECONDS_MAX", -1)
    view.fold([record(state("o"))])

    assert (list(rows), list(view.totals.open_commands)) == ([b"o"], [])
