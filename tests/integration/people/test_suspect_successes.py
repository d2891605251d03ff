"""Successes that the connector reported and the ledger finds suspect (R32): an operator resolves them."""

import json
from collections.abc import Awaitable, Callable

import pytest

from tests.integration.ledger.harness import LedgerHarness, authorized, invoice, outcome
from tests.integration.people.undecided import needs, take_over
from worker.delivery.decisions import apply
from worker.delivery.store import Store
from worker.kafka import names
from worker.kafka.packing import unpack
from worker.people import commands
from worker.people.acting import Actor, Refused
from worker.postgres.connecting import connect
from worker.stream.cycle import Cycle

ANA = Actor("Ana", "asked the acquirer")


async def settle_automatically(ledger: LedgerHarness, settle_id: str, value: int) -> None:
    await ledger.apply(
        "payment.auto_settled", {"orderId": "o1", "paymentId": "o1.p1", "settleId": settle_id, "value": value}
    )


async def report_success(
    ledger: LedgerHarness, operation_id: str, authorized_value: int = 10_000, done: int = 6_000
) -> str:
    """Makes a settle of 60.00 succeed, in full or short, under this operation id; its command id."""
    await ledger.apply("order.authorized", authorized("o1", value=authorized_value))
    await settle_automatically(ledger, "auto", 4_000)
    await ledger.apply("invoice.issued", invoice("o1", "1", 10_000))
    command_id = await take_over(ledger, "succeeded", done, operation_id)
    await ledger.succeed(operationId=operation_id, value=done)
    return command_id


async def apply_decision(ledger: LedgerHarness) -> bytes:
    """Lets the delivery worker apply the decision; the outcome that the ledger will read."""
    delivery = await connect(ledger.url, name="delivery", schema="delivery")
    try:
        store, cycle = Store(delivery), Cycle(delivery, [], ledger.epochs, ledger.now_ms, len(ledger.epochs))
        (job,) = await apply(cycle, store, await store.decisions(ledger.epochs))
    finally:
        await delivery.close()
    assert job.state == "resolved"
    (published,) = unpack(cycle.outgoing)
    return published.value or b""


async def apply_decision_in_both(ledger: LedgerHarness) -> None:
    """Lets the delivery worker apply the decision and the ledger read its outcome."""
    await ledger.apply("command.resolved", json.loads(await apply_decision(ledger)))


async def test_an_operator_resolves_a_success_that_the_ledger_finds_suspect(ledger: LedgerHarness):
    command_id = await report_success(ledger, "auto")
    assert ledger.state("o1")["status"] == "attention"
    assert [(need.need, need.acts) for need in await needs(ledger.connection)] == [("suspect", ("resolve",))]

    await commands.resolve(ledger.connection, ANA, command_id, done=6_000, operation_id="by hand")
    await apply_decision_in_both(ledger)

    assert ledger.state("o1")["settled"] == 10_000
    assert ledger.state("o1")["status"] == "finished"


async def test_a_resolve_that_the_ledger_rejects_can_be_corrected(ledger: LedgerHarness):
    """Before the ledger reads the decision, another capture uses up the amount that was still possible."""
    command_id = await report_success(ledger, "auto", authorized_value=14_000)
    for _ in range(2):
        await commands.resolve(ledger.connection, ANA, command_id, done=9_999, operation_id="by hand")
    await settle_automatically(ledger, "auto-2", 4_000)
    await apply_decision_in_both(ledger)
    assert ledger.dead()[-1] == ("settlement.outcomes.v1", "rejected")
    assert ledger.state("o1")["status"] == "attention"
    assert [(need.state, need.acts) for need in await needs(ledger.connection)] == [("resolved", ("resolve",))]

    await commands.resolve(ledger.connection, ANA, command_id, done=6_000, operation_id="by hand")
    await apply_decision_in_both(ledger)

    assert ledger.state("o1")["settled"] == 14_000
    assert ledger.state("o1")["attention"] == []
    with pytest.raises(Refused, match="the command is resolved"):
        await commands.resolve(ledger.connection, ANA, command_id, done=5_000, operation_id="by hand")


async def test_a_success_that_the_ledger_accepts_cannot_be_resolved(ledger: LedgerHarness):
    command_id = await report_success(ledger, "settle-1")

    with pytest.raises(Refused, match="the command is succeeded"):
        await commands.resolve(ledger.connection, ANA, command_id, done=6_000, operation_id="by hand")


async def test_a_suspect_short_success_can_be_neither_retried_nor_abandoned(ledger: LedgerHarness):
    """Nothing would be sent: the connector has answered, and an operator must say which capture its answer meant."""
    command_id = await report_success(ledger, "auto", done=3_000)
    assert [(need.need, need.acts) for need in await needs(ledger.connection)] == [("suspect", ("resolve",))]

    for decide in (commands.retry, commands.abandon):
        with pytest.raises(Refused, match="the command is succeeded"):
            await decide(ledger.connection, ANA, command_id)


async def test_a_retry_of_a_suspect_success_sends_no_command_and_leaves_it_suspect(ledger: LedgerHarness):
    await report_success(ledger, "auto", done=3_000)

    await ledger.apply(
        "command.retried", outcome(ledger.published(names.COMMANDS)[-1], value=0, operationId=None, by="Ana")
    )

    assert len(ledger.published(names.COMMANDS)) == 1
    assert [entry["code"] for entry in ledger.state("o1")["attention"]] == ["suspect"]


@pytest.mark.parametrize(("done", "decide"), [(None, commands.abandon), (3_000, commands.retry)])
async def test_a_resolved_command_can_be_retried_or_abandoned_before_the_ledger_reads_the_resolution(
    ledger: LedgerHarness, done: int | None, decide: Callable[..., Awaitable[object]]
):
    """An operator can go on with a failed or short command, however slow the ledger worker is."""
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("invoice.issued", invoice("o1", "1", 6_000))
    command_id = await take_over(ledger, "manual")
    await ledger.apply("command.manual", outcome(ledger.published(names.COMMANDS)[-1], value=0))
    operation_id = "by hand" if done else None
    await commands.resolve(ledger.connection, ANA, command_id, done=done, operation_id=operation_id)
    resolved = await apply_decision(ledger)
    (need,) = await needs(ledger.connection)
    assert need.acts == ("retry", "abandon")

    await decide(ledger.connection, ANA, command_id)

    await ledger.apply("command.resolved", json.loads(resolved))
    await decide(ledger.connection, ANA, command_id)
