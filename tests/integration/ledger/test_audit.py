"""`settlement audit` and `rebuild` accept a correct ledger and name what was tampered with."""

from urllib.parse import urlsplit

import pytest

from tests.integration.ledger.harness import GUARD, UNGUARD, LedgerHarness, authorized, invoice, outcome, payment
from worker.kafka import names
from worker.ledger.checking import run_audit, run_rebuild
from worker.postgres.snapshot import snapshot


async def fill_ledger(ledger: LedgerHarness) -> None:
    """Applies sales, a return, a discount, a decline, a parked fact and a malformed one to three orders."""
    ledger.send("order.authorized", authorized("o1", payments=[{"value": 7000}, {"value": 3000}]))
    ledger.send("invoice.issued", invoice("o1", "1", 5000))
    ledger.send("order.changed", {"orderId": "o1", "requestId": "c", "reason": "r", "discountValue": 1500,
                                  "incrementValue": 0})  # fmt: skip
    ledger.send("invoice.issued", invoice("o1", "1", 5000))
    ledger.send("invoice.issued", invoice("o1", "1", 5001))
    ledger.send("invoice.issued", invoice("o2", "1", 1))
    ledger.send("invoice.issued", {"orderId": "o1"}, raw=b"{")
    await ledger.cycle()
    commands = ledger.published(names.COMMANDS)
    for command in commands[:2]:
        ledger.send("command.succeeded", outcome(command))
    ledger.send("command.declined", outcome(commands[2], operationId=None, code="no"))
    ledger.send("invoice.issued", invoice("o1", "r", 4000, "Input"))
    await ledger.cycle()
    ledger.send("order.authorized", authorized("o3"))
    ledger.send("payment.auto_settled", {"orderId": "o3", "paymentId": "o3.p1", "settleId": "s", "value": 10_000})
    ledger.send("order.cancel_requested", {"orderId": "o3", "reason": "r"})
    ledger.send("payment.authorized", {"orderId": "o3", "payment": payment("o3.p2", 100)})
    await ledger.cycle()


async def broken_invariants(ledger: LedgerHarness) -> set[str]:
    verdict = await run_audit(ledger.settings)
    assert verdict["ok"] is not bool(verdict["findings"])
    return {finding["invariant"] for finding in verdict["findings"]}


async def test_a_correct_ledger_passes_the_audit_and_the_rebuild(ledger: LedgerHarness):
    await fill_ledger(ledger)

    verdict = await run_audit(ledger.settings)
    rebuilt = await run_rebuild(ledger.settings)

    assert verdict["findings"] == []
    assert verdict["ok"]
    assert (verdict["checked"]["orders"], verdict["checked"]["payments"]) == (3, 4)
    assert verdict["checked"]["entries"] == await ledger.value("SELECT count(*) FROM entries") > 10
    assert (rebuilt["differences"], rebuilt["orders"]) == ([], 3)
    assert rebuilt["facts"] == await ledger.value("SELECT count(*) FROM facts") > 10


async def test_an_empty_database_passes_the_audit_and_the_rebuild(ledger: LedgerHarness):
    assert (await run_audit(ledger.settings))["ok"]
    assert (await run_rebuild(ledger.settings))["ok"]


TAMPERED: dict[str, tuple[str, set[str]]] = {
    "an entry's amount": ("UPDATE entries SET amount = amount + 1 WHERE place = 2", {"I8", "I9"}),
    "an entry's account": ("UPDATE entries SET credit = 'lapsed' WHERE credit = 'settling'", {"I5", "I8", "I9"}),
    "an entry's rule": ("UPDATE entries SET rule = 'R99' WHERE place = 1", {"I9"}),
    "the last entry is gone": (
        "DELETE FROM entries WHERE (chain, place) = (SELECT chain, max(place) FROM entries GROUP BY 1 LIMIT 1)",
        {"I9"}),
    "every entry of a chain is gone, and its end": ("DELETE FROM entries; DELETE FROM chains", {"I5", "I8"}),
    "the end of a chain": ("DELETE FROM chains", {"I9"}),
    "a balance": ("UPDATE payments SET settled = settled + 1, authorized = 1 WHERE payment_id = 'o1.p1'", {"I8"}),
    "a refund above its settlement": (
        "ALTER TABLE settlements DROP CONSTRAINT refunds_within_settlement; UPDATE settlements SET refunded = 99999",
        {"I2", "I8"}),
    "a payment above its cap": (
        "ALTER TABLE payments DROP CONSTRAINT commitments_within_cap; UPDATE payments SET voided = cap + 1",
        {"I3", "I8"}),
    "a command's value": ("UPDATE commands SET value = value + 1", {"I5"}),
    "a command is gone": ("DELETE FROM commands WHERE sequence = 1", {"I5"}),
    "a fact is gone": ("DELETE FROM facts WHERE sequence = 1 AND order_id = 'o1'", {"I7", "I8"}),
    "an event is gone": ("DELETE FROM events WHERE sequence = 2 AND order_id = 'o1'", {"I8"}),
    "a parked record is gone": ("DELETE FROM parked", {"I7"}),
    "a dead letter is gone": ("DELETE FROM dead_letters WHERE reason = 'malformed'", {"I7"}),
    "an order's row": ("UPDATE orders SET phase = 'finished' WHERE order_id = 'o1'", {"I8"}),
    "the ledger may be rewritten": ("ALTER TABLE entries DISABLE TRIGGER append_only", {"I9"}),
    "a document": (
        """UPDATE orders SET document = convert_to(
            replace(convert_from(document, 'UTF8'), '"invoiced":5000', '"invoiced":1'), 'UTF8')""", {"I4"}),
    "a stray outbox row": ("UPDATE outbox SET partition = (partition + 1) % 4", {"I7"}),
}  # fmt: skip


@pytest.mark.parametrize("tampering", TAMPERED)
async def test_the_audit_names_the_invariants_that_tampering_breaks(ledger: LedgerHarness, tampering: str):
    await fill_ledger(ledger)
    statement, expected = TAMPERED[tampering]
    await ledger.connection.execute(UNGUARD)
    if tampering != "the ledger may be rewritten":
        await ledger.connection.execute(statement)
        await ledger.connection.execute(GUARD)

    broken = await broken_invariants(ledger)

    assert expected <= broken, broken


async def test_the_audit_names_an_id_that_two_orders_share(ledger: LedgerHarness):
    await fill_ledger(ledger)
    shared = await ledger.connection.fetchrow(
        "INSERT INTO commands SELECT command_id, request_id, 'o3', 'o3.p1', 99, operation, value FROM commands"
        " WHERE order_id = 'o1' LIMIT 1 RETURNING command_id, request_id"
    )

    findings = (await run_audit(ledger.settings))["findings"]

    assert {
        f"the command id {shared['command_id']} is used by the orders o1 and o3",
        f"the request id {shared['request_id']} is used by the orders o1 and o3",
    } <= {finding["finding"] for finding in findings if finding["invariant"] == "I5"}


async def test_the_rebuild_names_an_order_whose_facts_give_another_state(ledger: LedgerHarness):
    await fill_ledger(ledger)
    await ledger.connection.execute(UNGUARD)
    await ledger.connection.execute(
        "UPDATE facts SET fact = convert_to(replace(convert_from(fact, 'UTF8'), '5000', '4000'), 'UTF8')"
        " WHERE order_id = 'o1'"
    )

    verdict = await run_rebuild(ledger.settings)

    assert not verdict["ok"]
    assert "order o1: the fold of its facts is not the stored state" in verdict["differences"]


@pytest.mark.parametrize("table", ["entries", "facts", "events"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET order_id = order_id", "DELETE FROM {}", "TRUNCATE {}"])
@pytest.mark.parametrize("role", ["origin", "replica"])
async def test_the_database_refuses_to_change_append_only_tables(
    ledger: LedgerHarness, table: str, statement: str, role: str
):
    await fill_ledger(ledger)
    before = await ledger.value(f"SELECT count(*) FROM {table}")
    await ledger.connection.execute(f"SET session_replication_role = {role}")

    with pytest.raises(Exception, match="append-only"):
        await ledger.connection.execute(statement.format(table))

    assert await ledger.value(f"SELECT count(*) FROM {table}") == before


async def test_the_audit_ignores_the_transaction_timeout_of_the_database(ledger: LedgerHarness):
    name = urlsplit(ledger.settings.database).path.removeprefix("/")
    await ledger.connection.execute(f"ALTER DATABASE \"{name}\" SET transaction_timeout = '9s'")

    async with snapshot(ledger.settings.database, name="test") as connection:
        assert await connection.fetchval("SHOW transaction_timeout") == "0"


async def test_the_audit_reads_one_snapshot_while_a_worker_writes(ledger: LedgerHarness):
    await fill_ledger(ledger)
    transaction = ledger.connection.transaction()
    await transaction.start()
    await ledger.connection.execute("UPDATE orders SET version = 99 WHERE order_id = 'o1'")

    assert await broken_invariants(ledger) == set(), "uncommitted changes are not seen"

    await transaction.rollback()


# Stores the commands that the ledger issued, as the delivery worker does.
TAKEN_OVER = """
INSERT INTO delivery.commands (command_id, partition, order_id, payment_id, sequence, operation, connector, value,
    topic, source_partition, "offset", body, headers, "timestamp", due_at, taken_at)
SELECT command_id, 0, order_id, payment_id, sequence, operation, 'c1', value, 'settlement.commands.v1', 0, sequence,
    '{}', '[]', now(), now(), now()
FROM ledger.commands
"""


@pytest.mark.parametrize(
    ("tampered", "invariant", "message"),
    [
        ("UPDATE delivery.commands SET value = 9999 WHERE sequence = 1", "I5", "the ledger issued no such command"),
        ("UPDATE delivery.commands SET command_id = 'x' WHERE sequence = 2", "I5", "the ledger issued no such command"),
        ("UPDATE delivery.commands SET state = 'succeeded', operation_id = 'op'", "I5", "both done as operation op"),
        ("UPDATE delivery.commands SET attempts = 1; DELETE FROM delivery.commands WHERE sequence = 1", "I6",
         "number 2 was sent, number 1 was never taken over"),
    ],
)  # fmt: skip
async def test_the_audit_compares_delivered_commands_with_those_that_the_ledger_issued(
    ledger: LedgerHarness, tampered: str, invariant: str, message: str
) -> None:
    ledger.send("order.authorized", authorized("o1"))
    ledger.send("invoice.issued", invoice("o1", "1", 1000))
    ledger.send("invoice.issued", invoice("o1", "2", 1000))
    await ledger.cycle()
    await ledger.connection.execute(TAKEN_OVER)
    assert (await run_audit(ledger.settings))["findings"] == []

    await ledger.connection.execute(tampered)

    [finding] = (await run_audit(ledger.settings))["findings"]
    assert finding["invariant"] == invariant
    assert message in finding["finding"]


async def test_a_repeat_that_has_to_wait_when_it_is_read_again_is_accounted_for(
    ledger: LedgerHarness, monkeypatch: pytest.MonkeyPatch
):
    ledger.send("order.authorized", authorized("o1"))
    ledger.send("invoice.issued", invoice("o1", "1", 100))
    repeat = ledger.send("invoice.issued", invoice("o1", "1", 100))
    for number in range(3):
        settled = {"orderId": "o1", "paymentId": "later", "settleId": str(number), "value": 1}
        ledger.send("payment.auto_settled", settled)
    await ledger.cycle()

    monkeypatch.setattr("worker.ledger.deciding.TRIED_MAX", 1)
    ledger.send("payment.authorized", {"orderId": "o1", "payment": payment("later", 100)})
    ledger.read_again(repeat)
    await ledger.cycle()
    assert await ledger.value("SELECT count(*) FROM parked WHERE topic = $1", names.INVOICES) == 1
    assert (await run_audit(ledger.settings))["findings"] == []
    while await ledger.value("SELECT count(*) FROM parked"):
        await ledger.cycle()

    assert (await run_audit(ledger.settings))["findings"] == []


async def test_the_audit_finds_an_entries_table_without_its_append_only_trigger(ledger: LedgerHarness):
    await ledger.connection.execute("ALTER TABLE ledger_entries.entries_2 DISABLE TRIGGER append_only")

    assert await broken_invariants(ledger) == {"I9"}
