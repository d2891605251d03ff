"""A success that the connector reported and the books do not believe (R32): a person closes it, and nobody else's."""

import json
from collections.abc import Awaitable, Callable

import pytest

from tests.integration.ledger.harness import LedgerHarness, authorized, invoice, outcome
from tests.integration.people.test_decisions import taken_over
from worker.delivery.decisions import apply
from worker.delivery.store import Store
from worker.kafka import names
from worker.kafka.packing import unpack
from worker.people import commands
from worker.people.acting import Actor, Refused
from worker.people.needs import needs
from worker.postgres.connecting import connect
from worker.stream.cycle import Cycle
from worker.stream.stored_records import encode_headers

ANA = Actor("Ana", "asked the acquirer")


async def settled_by_the_gateway(ledger: LedgerHarness, settle_id: str, value: int) -> None:
    await ledger.apply(
        "payment.auto_settled", {"orderId": "o1", "paymentId": "o1.p1", "settleId": settle_id, "value": value}
    )


async def reported_as_succeeded(
    ledger: LedgerHarness, operation_id: str, authorized_value: int = 10_000, done: int = 6_000
) -> str:
    """A settle of 60.00 that the delivery worker counts as done, or as short, under this id."""
    await ledger.apply("order.authorized", authorized("o1", value=authorized_value))
    await settled_by_the_gateway(ledger, "auto", 4_000)
    await ledger.apply("invoice.issued", invoice("o1", "1", 10_000))
    command = ledger.of(names.COMMANDS)[-1]
    await ledger.connection.execute(
        """INSERT INTO delivery.commands (command_id, partition, order_id, payment_id, sequence, operation, connector,
               value, topic, source_partition, "offset", body, headers, "timestamp", state, due_at, done, operation_id,
               taken_at)
           VALUES ($1, $2, 'o1', $3, 1, 'settle', 'c1', 6000, $4, 0, 0, $5, $7, now(), 'succeeded', now(), $8, $6,
               now())""",
        command["commandId"], ledger.home("o1"), command["paymentId"], names.COMMANDS, json.dumps(command).encode(),
        operation_id, encode_headers([]), done,
    )  # fmt: skip
    await ledger.succeed(operationId=operation_id, value=done)
    return str(command["commandId"])


async def applied(ledger: LedgerHarness) -> bytes:
    """The delivery worker takes the decision over; what the books will hear of it."""
    delivery = await connect(ledger.url, name="delivery", schema="delivery")
    try:
        store, cycle = Store(delivery), Cycle(delivery, [], ledger.epochs, ledger.now_ms, len(ledger.epochs))
        (decision,) = await store.decisions(ledger.epochs)
        job, refusal = await apply(cycle, store, decision)
        await store.mark_applied({decision.id: refusal}, ledger.now_ms)
    finally:
        await delivery.close()
    assert (job and job.state, refusal) == ("resolved", None)
    (told,) = unpack(cycle.outgoing)
    return told.value or b""


async def applied_and_told(ledger: LedgerHarness) -> None:
    """The delivery worker takes the decision over, and the books hear of it."""
    await ledger.apply("command.resolved", json.loads(await applied(ledger)))


async def test_the_books_doubt_it_and_a_person_says_what_was_done(ledger: LedgerHarness):
    command_id = await reported_as_succeeded(ledger, "auto")
    assert ledger.state("o1")["status"] == "attention"
    assert [(one.need, one.acts) for one in await needs(ledger.connection)] == [("suspect", ("resolve",))]

    await commands.resolve(ledger.connection, ANA, command_id, done=6_000, operation_id="by hand")
    await applied_and_told(ledger)

    assert ledger.state("o1")["settled"] == 10_000
    assert ledger.state("o1")["status"] == "finished"


async def test_what_a_person_said_and_the_books_refuse_may_be_said_again_better(ledger: LedgerHarness):
    """What could still have been done when it was typed, another capture has taken before the books hear of it."""
    command_id = await reported_as_succeeded(ledger, "auto", authorized_value=14_000)
    for _ in range(2):
        await commands.resolve(ledger.connection, ANA, command_id, done=9_999, operation_id="by hand")
    await settled_by_the_gateway(ledger, "auto-2", 4_000)
    await applied_and_told(ledger)
    assert ledger.dead()[-1] == ("settlement.outcomes.v1", "rejected")
    assert ledger.state("o1")["status"] == "attention"
    assert [(one.state, one.acts) for one in await needs(ledger.connection)] == [("resolved", ("resolve",))]

    await commands.resolve(ledger.connection, ANA, command_id, done=6_000, operation_id="by hand")
    await applied_and_told(ledger)

    assert ledger.state("o1")["settled"] == 14_000
    assert ledger.state("o1")["attention"] == []
    with pytest.raises(Refused, match="the command is resolved"):
        await commands.resolve(ledger.connection, ANA, command_id, done=5_000, operation_id="by hand")


async def test_a_success_that_the_books_believe_is_nobodys_to_resolve(ledger: LedgerHarness):
    command_id = await reported_as_succeeded(ledger, "settle-1")

    with pytest.raises(Refused, match="the command is succeeded"):
        await commands.resolve(ledger.connection, ANA, command_id, done=6_000, operation_id="by hand")


async def test_a_short_success_that_the_books_doubt_is_neither_asked_again_nor_given_up(ledger: LedgerHarness):
    """Nothing would be sent: its connector has answered, and whose answer it was is for a person to say."""
    command_id = await reported_as_succeeded(ledger, "auto", done=3_000)
    assert [(one.need, one.acts) for one in await needs(ledger.connection)] == [("suspect", ("resolve",))]

    for decide in (commands.retry, commands.abandon):
        with pytest.raises(Refused, match="the command is succeeded"):
            await decide(ledger.connection, ANA, command_id)


async def test_what_was_asked_again_before_the_books_doubted_it_is_still_for_a_person(ledger: LedgerHarness):
    await reported_as_succeeded(ledger, "auto", done=3_000)

    await ledger.apply("command.retried", outcome(ledger.of(names.COMMANDS)[-1], value=0, operationId=None, by="Ana"))

    assert len(ledger.of(names.COMMANDS)) == 1
    assert [one["code"] for one in ledger.state("o1")["attention"]] == ["suspect"]


@pytest.mark.parametrize(("done", "decide"), [(None, commands.abandon), (3_000, commands.retry)])
async def test_what_the_books_have_not_heard_yet_they_do_not_doubt(
    ledger: LedgerHarness, done: int | None, decide: Callable[..., Awaitable[object]]
):
    """Whoever closed a command goes on with what failed or came short of it, however slow the ledger worker is."""
    await ledger.apply("order.authorized", authorized("o1"))
    await ledger.apply("invoice.issued", invoice("o1", "1", 6_000))
    command_id = await taken_over(ledger, "manual")
    await ledger.apply("command.manual", outcome(ledger.of(names.COMMANDS)[-1], value=0))
    operation_id = "by hand" if done else None
    await commands.resolve(ledger.connection, ANA, command_id, done=done, operation_id=operation_id)
    told = await applied(ledger)
    (need,) = await needs(ledger.connection)
    assert need.acts == ("retry", "abandon")

    await decide(ledger.connection, ANA, command_id)

    await ledger.apply("command.resolved", json.loads(told))
    await decide(ledger.connection, ANA, command_id)
