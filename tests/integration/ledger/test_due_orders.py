"""An order whose deadline cannot be dealt with is left alone for a while, and keeps no other from its own."""

import pytest

from tests.integration.ledger.harness import NOON_MS, LedgerHarness, authorized
from tests.measured import alert
from worker.domain.decide import decide
from worker.domain.decision import Decision
from worker.domain.facts import Fact, TimePassed
from worker.domain.order import Order
from worker.domain.terms import Terms
from worker.kafka import names


@pytest.mark.parametrize("others", [1, 40], ids=["few", "so many that rows are copied"])
@pytest.mark.parametrize(
    "refusing",
    ["payments ADD CHECK (payment_id <> 'o1.p1' OR NOT lapsed)", "facts ADD CHECK (order_id <> 'o1' OR sequence < 2)"],
)
async def test_an_order_whose_lapse_the_database_refuses_does_not_stop_the_others(
    ledger: LedgerHarness, others: int, refusing: str
):
    expires = {"value": 10_000, "expiresAt": "2026-01-15T12:00:10Z"}
    for order in ("o1", *(f"p{number}" for number in range(others))):
        await ledger.apply("order.authorized", authorized(order, payments=[expires]))
    await ledger.connection.execute(f"ALTER TABLE {refusing}")
    ledger.now_ms += 10_000

    await ledger.apply("order.authorized", authorized("o3"))
    await ledger.cycle()

    assert await ledger.rows("SELECT payment_id FROM payments WHERE NOT lapsed ORDER BY 1") == [("o1.p1",), ("o3.p1",)]
    assert [event["type"] for event in ledger.published(names.EVENTS)].count("authorization.lapsed") == others
    assert alert("refused_by_database") == 1


async def test_an_order_whose_lapse_cannot_be_decided_is_tried_again_only_every_ten_minutes(
    ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch
):
    tried: list[int] = []

    def fail_for_o1(order: Order, fact: Fact, terms: Terms) -> Decision:
        if isinstance(fact, TimePassed) and fact.order_id == "o1":
            tried.append(terms.now_ms - NOON_MS)
            raise ZeroDivisionError
        return decide(order, fact, terms)

    monkeypatch.setattr("worker.ledger.order_fold.decide", fail_for_o1)
    expires = {"value": 10_000, "expiresAt": "2026-01-15T12:01:00Z"}
    for order in ("o1", "o2"):
        await ledger.apply("order.authorized", authorized(order, payments=[expires]))
    for _ in range(13):
        ledger.now_ms += 60_000
        await ledger.cycle()

    assert tried == [60_000, 660_000]
    assert alert("undecidable_fact") == 1
    assert ledger.state("o2")["payments"][0]["lapsed"] is True
