"""What becomes of records: applied, duplicate, parked or dead-lettered, each exactly once."""

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

    out = await ledger.cycle()

    assert [kind(one) for one in out] == [
        "command.settle", "order.opened", "invoice.accepted", "settlement.requested", "order.state",
    ]  # fmt: skip
    assert dict(out[0].headers)["traceparent"] == b"00-aa-bb-01"
    assert all(one.key == b"o1" and one.partition == ledger.home("o1") for one in out)
    state = ledger.state("o1")
    assert (state["invoiced"], state["settling"], state["open"], state["version"]) == (6000, 6000, 4000, 2)
    assert [event["source"]["topic"] for event in ledger.of(names.EVENTS)][-1] == "t.erp.invoices.v1"


async def test_many_facts_of_one_order_in_one_batch_are_applied_in_their_order(ledger: LedgerHarness):
    ledger.send("order.authorized", authorized("o1"))
    ledger.send("invoice.issued", invoice("o1", "1", 6000))
    ledger.send("order.changed", {"orderId": "o1", "requestId": "c", "reason": "r", "discountValue": 1500,
                                  "incrementValue": 0})  # fmt: skip
    ledger.send("invoice.issued", invoice("o1", "2", 2500))

    await ledger.cycle()

    assert ledger.commands() == [("settle", 6000), ("cancel", 1500), ("settle", 2500)]
    assert len(ledger.of(names.ORDERS)) == 1, "one snapshot per changed order"


async def test_a_repeat_moves_nothing_and_is_counted(ledger: LedgerHarness):
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("invoice.issued", invoice("o1", "1", 6000))
    before = facts(names.INVOICES, "duplicate")

    assert await ledger.apply("invoice.issued", invoice("o1", " 1 ", 6000)) == []

    assert facts(names.INVOICES, "duplicate") == before + 1
    assert await ledger.value("SELECT duplicates FROM consumed WHERE topic = $1", names.INVOICES) == 1


async def test_what_was_decided_and_rolled_back_is_not_counted(ledger: LedgerHarness):
    """The stream makes a refused record a dead letter in a cycle in which nothing is decided."""
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
    assert ledger.of(names.EVENTS)[-1]["type"] == "invoice.rejected"


async def test_what_cannot_be_read_is_a_dead_letter_byte_for_byte_and_the_next_goes_on(ledger: LedgerHarness):
    ledger.send("order.authorized", authorized("o1"))
    cut = b'{"orderId": "o1", "invoiceValue": 60'
    bad = ledger.send("invoice.issued", {"orderId": "o1"}, raw=cut, headers=[("x", b"\xff\x00")])
    ledger.send("invoice.issued", invoice("o1", "1", 0))
    ledger.send("invoice.shredded", invoice("o1", "1", 1))
    ledger.send("invoice.issued", invoice("o1", "1", 6000))

    await ledger.cycle()

    assert [reason for _, reason in ledger.dead()] == ["malformed", "invalid", "unknown_type"]
    dead = next(one for one in ledger.outgoing if one.topic == "erp.invoices.v1-dlt")
    assert (dead.key, dead.value, dead.partition) == (bad.key, bad.value, bad.partition)
    assert dead.headers[: len(bad.headers)] == bad.headers
    assert ledger.commands() == [("settle", 6000)]
    message = await ledger.value("SELECT message FROM dead_letters WHERE reason = 'invalid'")
    assert message.startswith("invoiceValue: must be a whole number")


async def test_facts_wait_for_their_order_and_are_applied_in_the_order_in_which_they_were_stored(ledger: LedgerHarness):
    await ledger.apply("invoice.issued", invoice("o1", "2", 4000))
    await ledger.apply("invoice.issued", invoice("o1", "1", 5000))
    assert await ledger.value("SELECT count(*) FROM parked") == 2
    assert ledger.outgoing == []

    ledger.send("order.authorized", authorized("o1"))
    ledger.send("invoice.issued", invoice("o1", "3", 1000))
    await ledger.cycle()

    assert ledger.commands() == [("settle", 4000), ("settle", 5000), ("settle", 1000)]
    assert await ledger.value("SELECT count(*) FROM parked") == 0
    sources = [(one["source"]["offset"]) for one in ledger.of(names.EVENTS) if one["type"] == "invoice.accepted"]
    assert sources == [0, 1, 2], "each event names the record that its fact came in"


async def test_a_fact_parked_in_the_batch_that_brings_its_order_is_never_stored(ledger: LedgerHarness):
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


async def test_what_never_gets_its_order_is_given_up_after_the_parking_time(ledger: LedgerHarness):
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


async def test_an_order_that_never_comes_makes_no_further_fact_dearer_and_is_given_up_part_by_part(
    ledger: LedgerHarness,
):
    for number in range(250):
        ledger.send("invoice.issued", invoice("o1", str(number), 100))
    await ledger.cycle()
    ledger.now_ms += 1_000
    await ledger.apply("invoice.issued", invoice("o1", "late", 100))
    [fold] = (await LedgerTables(Cycle(ledger.connection, [], {}, ledger.now_ms, 4)).lock(["o1"], opening=())).values()
    found = fold.waiting
    assert (found.parked, found.number, found.due_ms()) == ([], 251, ledger.now_ms - 1_000 + 72 * 3_600_000)

    ledger.now_ms += 72 * 3_600_000 - 1_000
    waiting = []
    while ledger.handler.next_due_ms() <= ledger.now_ms:
        await ledger.cycle()
        waiting += await ledger.rows("SELECT parked, (SELECT count(*) FROM parked) FROM orders")
    assert waiting == [(151, 151), (51, 51), (1, 1)]
    ledger.now_ms += 1_000
    await ledger.cycle()

    assert ledger.dead() == [(names.INVOICES, "order_unknown")] * 251
    assert await ledger.rows("SELECT parked, wake_at FROM orders") == [(0, None)]


async def test_an_order_whose_facts_are_given_up_by_a_later_cycle_is_not_written_before(ledger: LedgerHarness):
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


async def test_facts_that_were_not_looked_at_are_applied_when_their_order_comes(ledger: LedgerHarness):
    for number in range(3):
        await ledger.apply("invoice.issued", invoice("o1", str(number), 100))

    await ledger.apply("order.authorized", authorized("o1"))

    assert ledger.commands() == [("settle", 100)] * 3
    assert await ledger.rows("SELECT parked, wake_at FROM orders") == [(0, None)]


async def test_however_many_payments_waited_for_their_order_each_is_added_when_it_comes(ledger: LedgerHarness):
    for number in range(2, 602):
        ledger.send("payment.authorized", {"orderId": "o1", "payment": payment(f"o1.p{number}", 100)})
    await ledger.cycle()

    await ledger.apply("order.authorized", authorized("o1"))

    assert ledger.dead() == []
    assert await ledger.rows("SELECT count(*) FROM payments") == [(601,)]
    assert await ledger.rows("SELECT parked, wake_at FROM orders") == [(0, None)]


async def test_what_waits_for_a_payment_that_waited_too_is_applied_in_the_order_in_which_it_was_stored(
    ledger: LedgerHarness,
):
    for number in (2, 4, 3):
        auto = {"orderId": "o1", "paymentId": f"o1.p{number}", "settleId": f"s{number}", "value": 100}
        await ledger.apply("payment.auto_settled", auto)
    for number in (3, 2):
        await ledger.apply("payment.authorized", {"orderId": "o1", "payment": payment(f"o1.p{number}", 100)})

    await ledger.apply("order.authorized", authorized("o1"))

    # Each payment, and at once what waits for it; for the one that has not come its settlement goes on waiting.
    assert await ledger.rows('SELECT "offset" FROM facts ORDER BY sequence') == [(5,), (3,), (2,), (4,), (0,)]
    assert await ledger.rows('SELECT waits_for, "offset" FROM parked') == [("payment", 1)]


async def test_while_what_waited_for_an_order_is_decided_the_lease_can_be_renewed(
    ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch
):
    for number in range(50):
        ledger.send("invoice.issued", invoice("o1", str(number), 100))
    await ledger.cycle()
    monkeypatch.setattr(time_slice, "SLICE_SECONDS", 0.0)
    said: list[str] = []

    def told(*given: Any) -> Decision:
        said.append("decided")
        asyncio.get_running_loop().call_soon(said.append, "others")
        return decide(*given)

    monkeypatch.setattr("worker.ledger.order_fold.decide", told)
    await ledger.apply("order.authorized", authorized("o1"))

    assert said == ["decided", "others"] * 51


async def test_an_order_is_opened_also_where_what_waited_for_it_takes_longer_than_the_database_lets_a_session_idle(
    ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch
):
    for number in range(20):
        ledger.send("invoice.issued", invoice("o1", str(number), 100))
    await ledger.cycle()
    await ledger.connection.execute("SET idle_in_transaction_session_timeout = '1s'")

    def slowly(*given: Any) -> Decision:
        until = time.monotonic() + 0.1
        while time.monotonic() < until:
            pass
        return decide(*given)

    monkeypatch.setattr("worker.ledger.order_fold.decide", slowly)
    await ledger.apply("order.authorized", authorized("o1"))

    assert ledger.commands() == [("settle", 100)] * 20


async def test_a_record_that_waits_and_is_read_again_goes_on_waiting_once(ledger: LedgerHarness):
    record = ledger.send("invoice.issued", invoice("o1", "1", 4000))
    await ledger.cycle()

    ledger.again(record)
    await ledger.cycle()

    assert ledger.outgoing == []
    assert await ledger.rows("SELECT o.parked, count(*) FROM parked JOIN orders o USING (order_id) GROUP BY 1") == [
        (1, 1)
    ]
    assert await ledger.rows("SELECT records, duplicates FROM consumed") == [(1, 0)]


async def test_what_stands_where_another_record_had_stood_is_no_repeat_of_it(ledger: LedgerHarness):
    """A topic was made anew, or lost what it had acknowledged, and the position was set back: the places come again."""
    await ledger.apply("order.authorized", authorized("o1"))
    for number, value in (("1", 4000), ("1", 4000), ("1", 5000)):  # a fact, a repeat, a dead letter
        ledger.send("invoice.issued", invoice("o1", number, value))
    ledger.send("invoice.issued", invoice("o9", "1", 100), partition=ledger.home("o1"))  # waits
    await ledger.cycle()
    ledger.recreate_topics()

    for number, value in (("2", 1000), ("3", 1100), ("4", 1200), ("5", 1300), ("5", 1400)):
        ledger.send("invoice.issued", invoice("o1", number, value))
    ledger.send("invoice.issued", invoice("o8", "1", 100), partition=ledger.home("o1"))
    again = list(ledger.pending)
    await ledger.cycle()
    ledger.pending = again  # somebody sets the position back once more
    await ledger.cycle()

    settled = [value for _, value in ledger.commands()]
    assert settled == [4000, 1000, 1100, 1200, 1300]
    assert ledger.dead() == [(names.INVOICES, "conflicting_duplicate")] * 2
    assert await ledger.value("SELECT count(*) FROM parked") == 2
    assert (await run_audit(ledger.settings))["findings"] == []


async def test_what_is_told_of_a_record_whose_place_is_another_ones_follows_the_schemas(ledger: LedgerHarness):
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
    assert ledger.of(names.EVENTS)[-1]["source"] is None
    assert complaints(ledger.outgoing) == []


async def test_a_fact_whose_producer_sent_a_header_without_a_value_waits_and_dies_as_it_came(ledger: LedgerHarness):
    nothing = [("x", None), ("x", b"")]
    await ledger.apply("invoice.issued", invoice("o1", "1", 4000), headers=nothing)
    late = ledger.send("invoice.issued", invoice("o2", "1", 5000), headers=nothing)
    await ledger.cycle()

    await ledger.apply("order.authorized", authorized("o1"))
    ledger.now_ms += 72 * 3_600_000 + 1
    await ledger.cycle()

    assert ledger.commands() == [("settle", 4000)]
    [dead] = [one for one in ledger.outgoing if one.topic == "erp.invoices.v1-dlt"]
    assert dead.headers[: len(late.headers)] == late.headers


async def test_an_order_with_a_connector_that_nobody_named_waits_for_the_file(ledger: LedgerHarness):
    await ledger.apply("order.authorized", authorized("o1", payments=[{"value": 10_000, "connector": "c2"}]))
    await ledger.apply("invoice.issued", invoice("o1", "1", 4000))
    assert alert("unknown_connector", "c2") == 1
    assert await ledger.rows("SELECT waits_for, expires_at FROM parked") == [("connectors", None)]
    assert (ledger.state("o1")["mode"], ledger.commands()) == (None, [])

    ledger.file.write_text(ledger.file.read_text().replace("connectors.c1", "connectors.c2"))
    ledger.handler.reload()
    assert ledger.handler.next_due_ms() == 0, "a cycle is wanted now"
    await ledger.cycle()

    assert alert("unknown_connector", "c2") == 0
    assert (ledger.state("o1")["mode"], ledger.commands()) == ("PARTIAL", [("settle", 4000)])
    assert await ledger.rows("SELECT awaits, parked FROM orders") == [(None, 0)]


async def test_orders_that_wait_for_connectors_are_not_looked_for_again_and_again(
    ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch
):
    looks: list[int] = []
    look = LedgerTables.named_orders

    async def told(tables: LedgerTables, *given: Any) -> list[str]:
        looks.append(ledger.now_ms - NOON_MS)
        return await look(tables, *given)

    monkeypatch.setattr(LedgerTables, "named_orders", told)
    await ledger.apply("order.authorized", authorized("o1", payments=[{"value": 10_000, "connector": "c2"}]))
    for _ in range(12):
        ledger.now_ms += 1_000
        await ledger.cycle()
    ledger.file.write_text(ledger.file.read_text().replace("connectors.c1", "connectors.c2"))
    ledger.handler.reload()
    await ledger.cycle()

    assert looks == [0, 10_000, 12_000]
    assert ledger.state("o1")["mode"] == "PARTIAL"


async def test_a_file_that_names_a_connector_while_a_cycle_runs_is_gone_by_in_the_next(
    ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch
):
    await ledger.apply("order.authorized", authorized("o1", payments=[{"value": 10_000, "connector": "c2"}]))
    look = LedgerTables.named_orders

    async def named_meanwhile(tables: LedgerTables, *given: Any) -> list[str]:
        found = await look(tables, *given)
        ledger.file.write_text(ledger.file.read_text().replace("connectors.c1", "connectors.c2"))
        ledger.handler.reload()
        return found

    monkeypatch.setattr(LedgerTables, "named_orders", named_meanwhile)
    ledger.now_ms += 60_000
    await ledger.cycle()
    monkeypatch.setattr(LedgerTables, "named_orders", look)
    ledger.now_ms += 1_000
    await ledger.cycle()

    assert ledger.state("o1")["mode"] == "PARTIAL"


async def test_a_file_that_does_not_parse_keeps_the_old_one(ledger: LedgerHarness):
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
    assert {one["orderId"] for one in ledger.of(names.ORDERS)} == {"o1"}


async def test_a_parked_payment_of_another_order_is_refused_when_the_file_names_the_connector(ledger: LedgerHarness):
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("order.authorized", authorized("o2", payments=[{"value": 10_000, "connector": "c2"}]))
    await ledger.apply("payment.authorized", {"orderId": "o2", "payment": payment("o1.p1", 5000)})
    assert await ledger.value("SELECT count(*) FROM parked") == 1

    ledger.file.write_text(ledger.file.read_text() + ledger.file.read_text().replace("connectors.c1", "connectors.c2"))
    ledger.handler.reload()
    await ledger.cycle()

    assert ledger.dead() == [(names.ORDER_CHANGES, "conflicting_duplicate")]


async def test_an_authorization_lapses_when_its_time_has_come(ledger: LedgerHarness):
    expires = {"value": 10_000, "expiresAt": "2026-01-17T12:00:00Z"}
    await ledger.apply("order.authorized", authorized("o1", payments=[expires]))
    ledger.now_ms += 24 * 3_600_000
    await ledger.cycle()
    assert ledger.of(names.EVENTS)[-1]["type"] == "authorization.expiring"

    ledger.now_ms += 24 * 3_600_000
    await ledger.cycle()

    assert ledger.of(names.EVENTS)[-1]["type"] == "authorization.lapsed"
    assert ledger.of(names.EVENTS)[-1]["source"] is None
    assert await ledger.rows("SELECT lapsed, wake_at FROM payments JOIN orders USING (order_id)") == [(True, None)]


async def test_time_comes_before_the_records_of_the_same_cycle(ledger: LedgerHarness):
    """Also of an order that another worker opened after this one had looked for deadlines."""
    await ledger.cycle()
    other = await ledger.another()
    expires = {"value": 10_000, "expiresAt": "2026-01-15T12:00:00.500Z"}
    await other.apply("order.authorized", authorized("o1", payments=[expires]))
    await other.connection.close()
    ledger.now_ms += 600
    assert ledger.handler.next_due_ms() > ledger.now_ms

    await ledger.apply("invoice.issued", invoice("o1", "1", 4000))

    assert ledger.commands() == []
    assert ledger.state("o1")["invoices"][0]["status"] == "settlement_failed"


@pytest.mark.parametrize("edge", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"])
async def test_an_authorization_may_expire_at_the_edge_of_time(ledger: LedgerHarness, edge: str):
    await ledger.apply("order.authorized", authorized("o1", payments=[{"value": 10_000, "expiresAt": edge}]))
    await ledger.cycle()

    assert ledger.state("o1")["payments"][0]["lapsed"] is edge.startswith("0001")


async def test_a_rolled_back_cycle_leaves_no_memory(ledger: LedgerHarness):
    ledger.send("order.authorized", authorized("o1"))
    await ledger.roll_back()

    await ledger.cycle()

    assert ledger.state("o1")["version"] == 1
    assert await ledger.rows("SELECT records, duplicates FROM consumed") == [(1, 0)]


async def test_a_suspect_automatic_settlement_that_waited_is_dead_lettered_as_it_came(ledger: LedgerHarness):
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("invoice.issued", invoice("o1", "1", 6000))
    record = ledger.send(
        "payment.auto_settled", {"orderId": "o1", "paymentId": "o1.p1", "settleId": "s", "value": 7000}
    )
    await ledger.cycle()
    assert await ledger.rows("SELECT waits_for FROM parked") == [("judgement",)]

    await ledger.succeed()

    assert ledger.dead() == [(names.ORDER_CHANGES, "suspect")]
    dead = next(one for one in ledger.outgoing if one.topic.endswith("-dlt"))
    assert (dead.value, dict(dead.headers)["__connect.errors.offset"]) == (record.value, str(record.offset).encode())
    assert await ledger.value("SELECT count(*) FROM parked") == 0
    assert ledger.state("o1")["status"] == "attention"


async def test_a_fact_that_cannot_be_decided_is_one_dead_letter(ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch):
    await ledger.apply("order.authorized", authorized("o1"))

    def broken(*_: object) -> None:
        raise AssertionError("a rule of ours is broken")

    monkeypatch.setattr("worker.ledger.order_fold.decide", broken)
    await ledger.apply("invoice.issued", invoice("o1", "1", 4000))
    monkeypatch.undo()
    await ledger.apply("invoice.issued", invoice("o1", "2", 3000))

    assert ledger.dead() == [(names.INVOICES, "internal")]
    assert ledger.commands() == [("settle", 3000)]


async def test_the_whole_input_read_again_from_the_start_makes_not_one_entry_more(ledger: LedgerHarness):
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


@pytest.mark.parametrize("others", [1, 40], ids=["few", "so many that rows go by COPY"])
@pytest.mark.parametrize(
    "refusing",
    ["payments ADD CHECK (payment_id <> 'o1.p1' OR NOT lapsed)", "facts ADD CHECK (order_id <> 'o1' OR sequence < 2)"],
)
async def test_an_order_whose_own_time_the_database_refuses_does_not_stop_the_others(
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
    assert [one["type"] for one in ledger.of(names.EVENTS)].count("authorization.lapsed") == others
    assert alert("refused_by_database") == 1
