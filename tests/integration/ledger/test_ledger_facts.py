"""Fates of the ledger's input records: applied, duplicate, parked or dead-lettered, each exactly once."""

import asyncio
import time
from typing import Any

import pytest

from tests.contract.emitted import complaints
from tests.integration.ledger.harness import NOON_MS, PARTITIONS, LedgerHarness, authorized, invoice, kind, payment
from tests.measured import alert, facts
from worker.domain.decide import decide
from worker.domain.decision import Decision
from worker.kafka import names
from worker.ledger.checking import run_audit
from worker.ledger.tables import LedgerTables
from worker.stream import time_slice
from worker.stream.cycle import Cycle


async def test_an_invoice_becomes_a_command_events_and_a_snapshot(ledger: LedgerHarness):
    ledger.send("order.authorized", authorized("o1"))
    ledger.send("invoice.issued", invoice("o1", "1", 6000), headers=[("traceparent", b"00-aa-bb-01")])

    published = await ledger.cycle()

    assert [kind(record) for record in published] == [
        "command.settle", "order.opened", "invoice.accepted", "settlement.requested", "order.state",
    ]  # fmt: skip
    assert dict(published[0].headers)["traceparent"] == b"00-aa-bb-01"
    assert all(record.key == b"o1" and record.partition == ledger.home("o1") for record in published)
    state = ledger.state("o1")
    assert (state["invoiced"], state["settling"], state["open"], state["version"]) == (6000, 6000, 4000, 2)
    assert [event["source"]["topic"] for event in ledger.published(names.EVENTS)][-1] == "t.erp.invoices.v1"


async def test_many_facts_of_one_order_in_one_batch_are_applied_in_their_order(ledger: LedgerHarness):
    ledger.send("order.authorized", authorized("o1"))
    ledger.send("invoice.issued", invoice("o1", "1", 6000))
    ledger.send("order.changed", {"orderId": "o1", "requestId": "c", "reason": "r", "discountValue": 1500,
                                  "incrementValue": 0})  # fmt: skip
    ledger.send("invoice.issued", invoice("o1", "2", 2500))

    await ledger.cycle()

    assert ledger.commands() == [("settle", 6000), ("cancel", 1500), ("settle", 2500)]
    assert len(ledger.published(names.ORDERS)) == 1, "one state per changed order"


async def test_a_duplicate_changes_nothing_and_is_counted(ledger: LedgerHarness):
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("invoice.issued", invoice("o1", "1", 6000))
    before = facts(names.INVOICES, "duplicate")

    assert await ledger.apply("invoice.issued", invoice("o1", " 1 ", 6000)) == []

    assert facts(names.INVOICES, "duplicate") == before + 1
    assert await ledger.value("SELECT duplicates FROM consumed WHERE topic = $1", names.INVOICES) == 1


async def test_decisions_of_a_rolled_back_cycle_are_not_counted(ledger: LedgerHarness):
    """The stream dead-letters a refused record in a cycle without the handler, which then sees only its commit."""
    before = facts(names.ORDER_CHANGES, "applied")
    ledger.send("order.authorized", authorized("o1"))
    await ledger.roll_back()

    await ledger.handler.committed(Cycle(ledger.connection, [], {}, 0, PARTITIONS))

    assert facts(names.ORDER_CHANGES, "applied") == before


async def test_a_conflict_is_dead_lettered_once_and_its_repeat_is_a_duplicate(ledger: LedgerHarness):
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("invoice.issued", invoice("o1", "1", 6000))

    await ledger.apply("invoice.issued", invoice("o1", "1", 7000))
    assert await ledger.apply("invoice.issued", invoice("o1", "1", 7000)) == []

    assert ledger.dead() == [(names.INVOICES, "conflicting_duplicate")]
    assert ledger.published(names.EVENTS)[-1]["type"] == "invoice.rejected"


async def test_a_malformed_record_is_dead_lettered_byte_for_byte_and_the_next_is_applied(ledger: LedgerHarness):
    ledger.send("order.authorized", authorized("o1"))
    cut = b'{"orderId": "o1", "invoiceValue": 60'
    bad = ledger.send("invoice.issued", {"orderId": "o1"}, raw=cut, headers=[("x", b"\xff\x00")])
    ledger.send("invoice.issued", invoice("o1", "1", 0))
    ledger.send("invoice.shredded", invoice("o1", "1", 1))
    ledger.send("invoice.issued", invoice("o1", "1", 6000))

    await ledger.cycle()

    assert [reason for _, reason in ledger.dead()] == ["malformed", "invalid", "unknown_type"]
    dead = next(record for record in ledger.outgoing if record.topic == "erp.invoices.v1-dlt")
    assert (dead.key, dead.value, dead.partition) == (bad.key, bad.value, bad.partition)
    assert dead.headers[: len(bad.headers)] == bad.headers
    assert ledger.commands() == [("settle", 6000)]
    message = await ledger.value("SELECT message FROM dead_letters WHERE reason = 'invalid'")
    assert message.startswith("invoiceValue: must be a whole number")


async def test_facts_parked_for_their_order_are_applied_in_the_order_they_were_stored(ledger: LedgerHarness):
    await ledger.apply("invoice.issued", invoice("o1", "2", 4000))
    await ledger.apply("invoice.issued", invoice("o1", "1", 5000))
    assert await ledger.value("SELECT count(*) FROM parked") == 2
    assert ledger.outgoing == []

    ledger.send("order.authorized", authorized("o1"))
    ledger.send("invoice.issued", invoice("o1", "3", 1000))
    await ledger.cycle()

    assert ledger.commands() == [("settle", 4000), ("settle", 5000), ("settle", 1000)]
    assert await ledger.value("SELECT count(*) FROM parked") == 0
    sources = [
        event["source"]["offset"] for event in ledger.published(names.EVENTS) if event["type"] == "invoice.accepted"
    ]
    assert sources == [0, 1, 2], "each event names the record that its fact came in"


async def test_a_fact_whose_order_arrives_in_the_same_batch_is_not_stored_as_parked(ledger: LedgerHarness):
    ledger.send("invoice.issued", invoice("o1", "1", 4000))
    ledger.send("order.authorized", authorized("o1"))

    await ledger.cycle()

    assert ledger.commands() == [("settle", 4000)]
    assert await ledger.value("SELECT parked FROM orders") == 0


async def test_a_fact_that_names_an_unknown_payment_waits_for_it(ledger: LedgerHarness):
    auto = {"orderId": "o1", "paymentId": "o1.p2", "settleId": "s", "value": 3000}
    await ledger.apply("payment.auto_settled", auto)
    await ledger.apply("order.authorized", authorized("o1"))
    assert await ledger.rows("SELECT waits_for, parked FROM parked JOIN orders USING (order_id)") == [("payment", 1)]

    await ledger.apply("payment.authorized", {"orderId": "o1", "payment": payment("o1.p2", 5000)})

    assert ledger.state("o1")["settled"] == 3000
    assert await ledger.rows("SELECT settle_id, value, automatic FROM settlements") == [("s", 3000, True)]


async def test_a_fact_whose_order_never_arrives_is_dead_lettered_after_the_parking_time(ledger: LedgerHarness):
    record = ledger.send("invoice.issued", invoice("o1", "1", 4000))
    await ledger.cycle()
    ledger.now_ms += 72 * 3_600_000 - 1
    await ledger.cycle()
    assert ledger.dead() == []

    ledger.now_ms += 1
    assert ledger.handler.next_due_ms() <= ledger.now_ms
    await ledger.cycle()

    assert ledger.dead() == [(names.INVOICES, "order_unknown")]
    assert ledger.outgoing[0].value == record.value
    assert await ledger.rows("SELECT parked, wake_at FROM orders") == [(0, None)]


async def test_facts_of_a_missing_order_are_parked_at_constant_cost_and_expire_in_portions(
    ledger: LedgerHarness,
):
    for number in range(250):
        ledger.send("invoice.issued", invoice("o1", str(number), 100))
    await ledger.cycle()
    ledger.now_ms += 1_000
    await ledger.apply("invoice.issued", invoice("o1", "late", 100))
    [fold] = (await LedgerTables(Cycle(ledger.connection, [], {}, ledger.now_ms, 4)).lock(["o1"], opening=())).values()
    waiting = fold.waiting
    assert (waiting.parked, waiting.number, waiting.due_ms()) == ([], 251, ledger.now_ms - 1_000 + 72 * 3_600_000)

    ledger.now_ms += 72 * 3_600_000 - 1_000
    remaining = []
    while ledger.handler.next_due_ms() <= ledger.now_ms:
        await ledger.cycle()
        remaining += await ledger.rows("SELECT parked, (SELECT count(*) FROM parked) FROM orders")
    assert remaining == [(151, 151), (51, 51), (1, 1)]
    ledger.now_ms += 1_000
    await ledger.cycle()

    assert ledger.dead() == [(names.INVOICES, "order_unknown")] * 251
    assert await ledger.rows("SELECT parked, wake_at FROM orders") == [(0, None)]


async def test_an_order_whose_parked_facts_expire_in_a_later_cycle_is_not_written_earlier(ledger: LedgerHarness):
    for number in range(150):
        ledger.send("invoice.issued", invoice(f"o{number}", "1", 100))
    await ledger.cycle()
    ledger.now_ms += 72 * 3_600_000
    before = await ledger.rows("SELECT order_id, ctid::text FROM orders")

    await ledger.cycle()

    after = await ledger.rows("SELECT order_id, ctid::text FROM orders")
    assert len({*after} - {*before}) == 100
    assert ledger.handler.next_due_ms() <= ledger.now_ms
    await ledger.cycle()
    assert ledger.dead() == [(names.INVOICES, "order_unknown")] * 150
    assert await ledger.rows("SELECT DISTINCT parked, wake_at FROM orders") == [(0, None)]


async def test_facts_parked_in_separate_cycles_are_applied_when_their_order_arrives(ledger: LedgerHarness):
    for number in range(3):
        await ledger.apply("invoice.issued", invoice("o1", str(number), 100))

    await ledger.apply("order.authorized", authorized("o1"))

    assert ledger.commands() == [("settle", 100)] * 3
    assert await ledger.rows("SELECT parked, wake_at FROM orders") == [(0, None)]


async def test_hundreds_of_parked_payments_are_added_when_their_order_arrives(ledger: LedgerHarness):
    for number in range(2, 602):
        ledger.send("payment.authorized", {"orderId": "o1", "payment": payment(f"o1.p{number}", 100)})
    await ledger.cycle()

    await ledger.apply("order.authorized", authorized("o1"))

    assert ledger.dead() == []
    assert await ledger.rows("SELECT count(*) FROM payments") == [(601,)]
    assert await ledger.rows("SELECT parked, wake_at FROM orders") == [(0, None)]


async def test_each_parked_payment_is_applied_with_the_settlements_parked_for_it(
    ledger: LedgerHarness,
):
    for number in (2, 4, 3):
        auto = {"orderId": "o1", "paymentId": f"o1.p{number}", "settleId": f"s{number}", "value": 100}
        await ledger.apply("payment.auto_settled", auto)
    for number in (3, 2):
        await ledger.apply("payment.authorized", {"orderId": "o1", "payment": payment(f"o1.p{number}", 100)})

    await ledger.apply("order.authorized", authorized("o1"))

    # Each payment is followed by the settlement parked for it; the settlement of the missing payment stays parked.
    assert await ledger.rows('SELECT "offset" FROM facts ORDER BY sequence') == [(5,), (3,), (2,), (4,), (0,)]
    assert await ledger.rows('SELECT waits_for, "offset" FROM parked') == [("payment", 1)]


async def test_the_lease_can_be_renewed_while_many_parked_facts_are_decided(
    ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch
):
    for number in range(50):
        ledger.send("invoice.issued", invoice("o1", str(number), 100))
    await ledger.cycle()
    monkeypatch.setattr(time_slice, "SLICE_SECONDS", 0.0)
    steps: list[str] = []

    def decide_and_note(*arguments: Any) -> Decision:
        steps.append("decided")
        asyncio.get_running_loop().call_soon(steps.append, "others")
        return decide(*arguments)

    monkeypatch.setattr("worker.ledger.order_fold.decide", decide_and_note)
    await ledger.apply("order.authorized", authorized("o1"))

    assert steps == ["decided", "others"] * 51


async def test_deciding_many_parked_facts_does_not_exceed_the_idle_in_transaction_timeout(
    ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch
):
    for number in range(20):
        ledger.send("invoice.issued", invoice("o1", str(number), 100))
    await ledger.cycle()
    await ledger.connection.execute("SET idle_in_transaction_session_timeout = '1s'")

    def decide_slowly(*arguments: Any) -> Decision:
        until = time.monotonic() + 0.1
        while time.monotonic() < until:
            pass
        return decide(*arguments)

    monkeypatch.setattr("worker.ledger.order_fold.decide", decide_slowly)
    await ledger.apply("order.authorized", authorized("o1"))

    assert ledger.commands() == [("settle", 100)] * 20


async def test_a_parked_record_that_is_read_again_stays_parked_once(ledger: LedgerHarness):
    record = ledger.send("invoice.issued", invoice("o1", "1", 4000))
    await ledger.cycle()

    ledger.read_again(record)
    await ledger.cycle()

    assert ledger.outgoing == []
    assert await ledger.rows("SELECT o.parked, count(*) FROM parked JOIN orders o USING (order_id) GROUP BY 1") == [
        (1, 1)
    ]
    assert await ledger.rows("SELECT records, duplicates FROM consumed") == [(1, 0)]


async def test_a_record_at_a_reused_offset_is_not_a_duplicate(ledger: LedgerHarness):
    """Offsets are reused after a topic was recreated or truncated and the position was set back."""
    await ledger.apply("order.authorized", authorized("o1"))
    for number, value in (("1", 4000), ("1", 4000), ("1", 5000)):  # a fact, a repeat, a dead letter
        ledger.send("invoice.issued", invoice("o1", number, value))
    ledger.send("invoice.issued", invoice("o9", "1", 100), partition=ledger.home("o1"))  # parked
    await ledger.cycle()
    ledger.recreate_topics()

    for number, value in (("2", 1000), ("3", 1100), ("4", 1200), ("5", 1300), ("5", 1400)):
        ledger.send("invoice.issued", invoice("o1", number, value))
    ledger.send("invoice.issued", invoice("o8", "1", 100), partition=ledger.home("o1"))
    records = list(ledger.pending)
    await ledger.cycle()
    ledger.pending = records  # an operator sets the position back once more
    await ledger.cycle()

    settled = [value for _, value in ledger.commands()]
    assert settled == [4000, 1000, 1100, 1200, 1300]
    assert ledger.dead() == [(names.INVOICES, "conflicting_duplicate")] * 2
    assert await ledger.value("SELECT count(*) FROM parked") == 2
    assert (await run_audit(ledger.settings))["findings"] == []


async def test_messages_about_a_record_at_a_reused_offset_match_their_schemas(ledger: LedgerHarness):
    await ledger.apply("order.authorized", authorized("o1"))
    for number, value in (("1", 4000), ("2", 1000)):
        ledger.send("invoice.issued", invoice("o1", number, value))
    await ledger.cycle()
    ledger.recreate_topics()

    for number, value in (("1", 9000), ("3", 1100)):
        ledger.send("invoice.issued", invoice("o1", number, value))
    await ledger.cycle()

    assert ledger.dead() == [(names.INVOICES, "conflicting_duplicate")]
    assert ledger.commands()[-1] == ("settle", 1100)
    assert ledger.published(names.EVENTS)[-1]["source"] is None
    assert complaints(ledger.outgoing) == []


async def test_a_parked_fact_keeps_its_headers_without_values(ledger: LedgerHarness):
    nothing = [("x", None), ("x", b"")]
    await ledger.apply("invoice.issued", invoice("o1", "1", 4000), headers=nothing)
    late = ledger.send("invoice.issued", invoice("o2", "1", 5000), headers=nothing)
    await ledger.cycle()

    await ledger.apply("order.authorized", authorized("o1"))
    ledger.now_ms += 72 * 3_600_000 + 1
    await ledger.cycle()

    assert ledger.commands() == [("settle", 4000)]
    [dead] = [record for record in ledger.outgoing if record.topic == "erp.invoices.v1-dlt"]
    assert dead.headers[: len(late.headers)] == late.headers


async def test_an_order_with_an_unknown_connector_waits_for_the_connectors_file(ledger: LedgerHarness):
    await ledger.apply("order.authorized", authorized("o1", payments=[{"value": 10_000, "connector": "c2"}]))
    await ledger.apply("invoice.issued", invoice("o1", "1", 4000))
    assert alert("unknown_connector", "c2") == 1
    assert await ledger.rows("SELECT waits_for, expires_at FROM parked") == [("connectors", None)]
    assert (ledger.state("o1")["mode"], ledger.commands()) == (None, [])

    ledger.file.write_text(ledger.file.read_text().replace("connectors.c1", "connectors.c2"))
    ledger.handler.reload()
    assert ledger.handler.next_due_ms() == 0, "a cycle is due now"
    await ledger.cycle()

    assert alert("unknown_connector", "c2") == 0
    assert (ledger.state("o1")["mode"], ledger.commands()) == ("PARTIAL", [("settle", 4000)])
    assert await ledger.rows("SELECT awaits, parked FROM orders") == [(None, 0)]


async def test_orders_that_wait_for_connectors_are_searched_every_ten_seconds_and_on_reload(
    ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch
):
    searches: list[int] = []
    search = LedgerTables.named_orders

    async def timed(tables: LedgerTables, *arguments: Any) -> dict[str, int]:
        searches.append(ledger.now_ms - NOON_MS)
        return await search(tables, *arguments)

    monkeypatch.setattr(LedgerTables, "named_orders", timed)
    await ledger.apply("order.authorized", authorized("o1", payments=[{"value": 10_000, "connector": "c2"}]))
    for _ in range(12):
        ledger.now_ms += 1_000
        await ledger.cycle()
    ledger.file.write_text(ledger.file.read_text().replace("connectors.c1", "connectors.c2"))
    ledger.handler.reload()
    await ledger.cycle()

    assert searches == [0, 10_000, 12_000]
    assert ledger.state("o1")["mode"] == "PARTIAL"


async def test_a_connector_added_to_the_file_during_a_cycle_is_used_in_the_next_one(
    ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch
):
    await ledger.apply("order.authorized", authorized("o1", payments=[{"value": 10_000, "connector": "c2"}]))
    search = LedgerTables.named_orders

    async def search_and_add_connector(tables: LedgerTables, *arguments: Any) -> dict[str, int]:
        orders = await search(tables, *arguments)
        ledger.file.write_text(ledger.file.read_text().replace("connectors.c1", "connectors.c2"))
        ledger.handler.reload()
        return orders

    monkeypatch.setattr(LedgerTables, "named_orders", search_and_add_connector)
    ledger.now_ms += 60_000
    await ledger.cycle()
    monkeypatch.setattr(LedgerTables, "named_orders", search)
    ledger.now_ms += 1_000
    await ledger.cycle()

    assert ledger.state("o1")["mode"] == "PARTIAL"


async def test_a_connectors_file_that_does_not_parse_keeps_the_old_settings(ledger: LedgerHarness):
    ledger.file.write_text("[connectors.c1")
    ledger.handler.reload()

    await ledger.apply("order.authorized", authorized("o1"))

    assert ledger.state("o1")["mode"] == "PARTIAL"
    assert alert("connectors_file") == 1


@pytest.mark.parametrize("together", [True, False])
async def test_a_payment_of_another_order_is_refused(ledger: LedgerHarness, together: bool):
    ledger.send("order.authorized", authorized("o1"))
    if not together:
        await ledger.cycle()
    thief = authorized("o2", payments=[{"value": 10_000, "paymentId": "o1.p1"}])
    ledger.send("order.authorized", thief)
    ledger.send("invoice.issued", invoice("o2", "1", 100))

    await ledger.cycle()

    assert ledger.dead() == [(names.ORDER_CHANGES, "conflicting_duplicate")]
    assert await ledger.rows("SELECT order_id, opened, parked FROM orders ORDER BY 1") == [
        ("o1", True, 0), ("o2", False, 1),
    ]  # fmt: skip
    assert {state["orderId"] for state in ledger.published(names.ORDERS)} == {"o1"}


async def test_a_parked_payment_of_another_order_is_refused_once_its_connector_is_known(ledger: LedgerHarness):
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("order.authorized", authorized("o2", payments=[{"value": 10_000, "connector": "c2"}]))
    await ledger.apply("payment.authorized", {"orderId": "o2", "payment": payment("o1.p1", 5000)})
    assert await ledger.value("SELECT count(*) FROM parked") == 1

    ledger.file.write_text(ledger.file.read_text() + ledger.file.read_text().replace("connectors.c1", "connectors.c2"))
    ledger.handler.reload()
    await ledger.cycle()

    assert ledger.dead() == [(names.ORDER_CHANGES, "conflicting_duplicate")]


async def test_an_authorization_lapses_when_it_expires(ledger: LedgerHarness):
    expires = {"value": 10_000, "expiresAt": "2026-01-17T12:00:00Z"}
    await ledger.apply("order.authorized", authorized("o1", payments=[expires]))
    ledger.now_ms += 24 * 3_600_000
    await ledger.cycle()
    assert ledger.published(names.EVENTS)[-1]["type"] == "authorization.expiring"

    ledger.now_ms += 24 * 3_600_000
    await ledger.cycle()

    assert ledger.published(names.EVENTS)[-1]["type"] == "authorization.lapsed"
    assert ledger.published(names.EVENTS)[-1]["source"] is None
    assert await ledger.rows("SELECT lapsed, wake_at FROM payments JOIN orders USING (order_id)") == [(True, None)]


async def test_an_expired_authorization_lapses_before_the_records_of_the_same_cycle(ledger: LedgerHarness):
    """Also if another worker opened the order after this one had read the deadlines."""
    await ledger.cycle()
    other = await ledger.second_worker()
    expires = {"value": 10_000, "expiresAt": "2026-01-15T12:00:00.500Z"}
    await other.apply("order.authorized", authorized("o1", payments=[expires]))
    await other.connection.close()
    ledger.now_ms += 600
    assert ledger.handler.next_due_ms() > ledger.now_ms

    await ledger.apply("invoice.issued", invoice("o1", "1", 4000))

    assert ledger.commands() == []
    assert ledger.state("o1")["invoices"][0]["status"] == "settlement_failed"


@pytest.mark.parametrize("edge", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"])
async def test_an_authorization_may_expire_in_the_first_or_the_last_year(ledger: LedgerHarness, edge: str):
    await ledger.apply("order.authorized", authorized("o1", payments=[{"value": 10_000, "expiresAt": edge}]))
    await ledger.cycle()

    assert ledger.state("o1")["payments"][0]["lapsed"] is edge.startswith("0001")


async def test_a_rolled_back_cycle_leaves_nothing_in_memory(ledger: LedgerHarness):
    ledger.send("order.authorized", authorized("o1"))
    await ledger.roll_back()

    await ledger.cycle()

    assert ledger.state("o1")["version"] == 1
    assert await ledger.rows("SELECT records, duplicates FROM consumed") == [(1, 0)]


async def test_a_parked_automatic_settlement_found_suspect_is_dead_lettered_unchanged(ledger: LedgerHarness):
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("invoice.issued", invoice("o1", "1", 6000))
    record = ledger.send(
        "payment.auto_settled", {"orderId": "o1", "paymentId": "o1.p1", "settleId": "s", "value": 7000}
    )
    await ledger.cycle()
    assert await ledger.rows("SELECT waits_for FROM parked") == [("judgement",)]

    await ledger.succeed()

    assert ledger.dead() == [(names.ORDER_CHANGES, "suspect")]
    dead = next(record for record in ledger.outgoing if record.topic.endswith("-dlt"))
    assert (dead.value, dict(dead.headers)["__connect.errors.offset"]) == (record.value, str(record.offset).encode())
    assert await ledger.value("SELECT count(*) FROM parked") == 0
    assert ledger.state("o1")["status"] == "attention"


async def test_a_fact_whose_decision_fails_becomes_one_dead_letter(
    ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch
):
    await ledger.apply("order.authorized", authorized("o1"))

    def fail(*_: object) -> None:
        raise AssertionError("a broken rule")

    monkeypatch.setattr("worker.ledger.order_fold.decide", fail)
    await ledger.apply("invoice.issued", invoice("o1", "1", 4000))
    monkeypatch.undo()
    await ledger.apply("invoice.issued", invoice("o1", "2", 3000))

    assert ledger.dead() == [(names.INVOICES, "internal")]
    assert ledger.commands() == [("settle", 3000)]


async def test_reading_the_whole_input_again_adds_no_row(ledger: LedgerHarness):
    ledger.send("invoice.issued", {"orderId": "o1"}, raw=b"{")
    ledger.send("order.authorized", authorized("o1"))
    ledger.send("invoice.issued", invoice("o1", "1", 6000))
    ledger.send("invoice.issued", invoice("o1", "1", 6000))
    for courier in ("A", "B"):
        ledger.send("invoice.tracking_updated", {"orderId": "o1", "invoiceNumber": "1", "courier": courier})
    ledger.send("invoice.issued", invoice("o1", "1", 7000))
    ledger.send("invoice.issued", invoice("o9", "1", 1))
    records = list(ledger.pending)
    await ledger.cycle()
    tables = ("entries", "facts", "events", "commands", "dead_letters", "parked", "consumed")
    before = [await ledger.rows(f"SELECT * FROM {table} ORDER BY 1, 2, 3") for table in tables]
    ledger.handler.dropped()
    await ledger.handler.taken(ledger.connection, ledger.epochs)

    ledger.pending = records
    assert await ledger.cycle() == []

    assert [await ledger.rows(f"SELECT * FROM {table} ORDER BY 1, 2, 3") for table in tables] == before
    assert (await run_audit(ledger.settings))["findings"] == []
