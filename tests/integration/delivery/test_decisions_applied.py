"""The delivery worker applies operators' decisions and closes the dead letters of their commands."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.integration.delivery.harness import PATIENCE_SECONDS, DeliveryHarness
from worker.people import commands
from worker.people.acting import Actor

ANA = Actor("ana", "spoke with the acquirer")

Decide = Callable[[Any, Actor, str], Awaitable[None]]


async def until_decisions_applied(delivery: DeliveryHarness) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await delivery.value("SELECT count(*) FROM decisions WHERE applied_at IS NULL"):
            await delivery.cycle()


async def decline_and_retry(delivery: DeliveryHarness, *ids: str) -> None:
    """Lets the connector decline these commands, and records a retry of each."""
    delivery.plan(*["decline"] * len(ids))
    for command_id in ids:
        delivery.send(command_id)
    await delivery.run_until(*((command_id, "declined") for command_id in ids))
    for command_id in ids:
        await commands.retry(delivery.connection, ANA, command_id)


@pytest.mark.parametrize(("word", "state", "decide", "status"), [
    ("decline", "declined", commands.retry, "replayed"),
    ("decline", "declined", commands.abandon, "discarded"),
    ("echo", "suspect", commands.retry, "replayed"),
    ("manual", "manual", commands.resolve, "discarded"),
])  # fmt: skip
async def test_a_decision_closes_the_commands_dead_letter_in_the_operators_name(
    delivery: DeliveryHarness, word: str, state: str, decide: Decide, status: str
):
    delivery.plan(word)
    delivery.send("a")
    delivery.send("b")
    await delivery.run_until(("a", state), ("b", "succeeded"))
    assert await delivery.value("SELECT status FROM dead_letters") == "open"

    await decide(delivery.connection, ANA, "a")
    await until_decisions_applied(delivery)

    assert tuple(await delivery.connection.fetchrow("SELECT status, decided_by, decided_reason FROM dead_letters")) == (
        status, "ana", "spoke with the acquirer",
    )  # fmt: skip


async def test_a_retry_of_a_suspect_command_does_not_apply_once_it_is_resolved(
    delivery: DeliveryHarness,
):
    """The retry would send a new request id: a second effect, if the resolution as not done was wrong."""
    delivery.plan("echo")
    delivery.send("a")
    await delivery.run_until(("a", "suspect"))
    await commands.resolve(delivery.connection, ANA, "a")
    await commands.retry(delivery.connection, Actor("ben", "the same request id may be sent again"), "a")
    await until_decisions_applied(delivery)

    assert delivery.outcomes() == [("suspect", "a"), ("resolved", "a")]
    assert await delivery.value("SELECT refused FROM decisions WHERE decided_by = 'ben'") == (
        "the command has changed since it was looked at and is resolved now: look again, then decide"
    )


async def test_a_decision_that_comes_second_is_refused_and_changes_nothing(delivery: DeliveryHarness):
    delivery.plan("manual")
    delivery.send("a")
    await delivery.run_until(("a", "manual"))
    await commands.resolve(delivery.connection, ANA, "a")
    await commands.resolve(delivery.connection, Actor("ben", "typed at the same time"), "a")
    await until_decisions_applied(delivery)

    assert await delivery.value("SELECT decided_by FROM decisions WHERE refused IS NOT NULL") == "ben"
    assert await delivery.value("SELECT decided_by FROM dead_letters") == "ana"


async def test_a_retried_command_is_sent_again_and_a_resolved_one_makes_way_for_the_next_of_its_payment(
    delivery: DeliveryHarness,
):
    delivery.plan("echo", "echo")
    delivery.send("retried")
    delivery.send("resolved", 1, "p")
    await delivery.run_until(("retried", "suspect"), ("resolved", "suspect"))
    delivery.send("next", 2, "p")
    await commands.retry(delivery.connection, ANA, "retried")
    await commands.resolve(delivery.connection, ANA, "resolved")

    await delivery.run_until(("retried", "succeeded"), ("resolved", "resolved"), ("next", "succeeded"))

    assert sorted(delivery.requested()) == ["next", "resolved", "retried", "retried"]


async def test_each_of_two_decisions_about_a_declined_command_is_published_and_the_first_closes_its_dead_letter(
    delivery: DeliveryHarness,
):
    delivery.plan("decline")
    delivery.send("a")
    await delivery.run_until(("a", "declined"))
    await commands.retry(delivery.connection, ANA, "a")
    await commands.abandon(delivery.connection, Actor("ben", "the customer has paid in cash"), "a")
    await until_decisions_applied(delivery)

    assert delivery.outcomes() == [("declined", "a"), ("retried", "a"), ("abandoned", "a")]
    assert await delivery.rows("SELECT status, decided_by FROM dead_letters") == [("replayed", "ana")]
    assert await delivery.rows("SELECT state, message FROM commands") == [
        ("abandoned", "the customer has paid in cash")
    ]


async def test_a_decision_about_whatever_state_finds_the_command_as_the_decision_before_it_left_it(
    delivery: DeliveryHarness,
):
    delivery.plan("manual")
    delivery.send("a")
    await delivery.run_until(("a", "manual"))
    await commands.resolve(delivery.connection, ANA, "a", done=100, operation_id="by hand")
    await delivery.connection.execute(
        "INSERT INTO decisions (action, partition, order_id, command_id, decided_by, reason)"
        " SELECT 'abandon', partition, order_id, command_id, 'ben', 'cancelled by phone' FROM commands"
    )
    await until_decisions_applied(delivery)

    assert await delivery.value("SELECT refused FROM decisions WHERE decided_by = 'ben'") == (
        "the command is resolved; only a declined or short one is abandoned"
    )


@pytest.mark.parametrize(("bytes_max", "times"), [(8 << 20, 1), (1, 3)])
async def test_decisions_that_wait_are_written_together_unless_their_commands_take_too_much_memory(
    delivery: DeliveryHarness, monkeypatch: pytest.MonkeyPatch, bytes_max: int, times: int
):
    monkeypatch.setattr("worker.delivery.store.DECIDED_BYTES_MAX", bytes_max)
    await decline_and_retry(delivery, "a", "b", "c")
    queries: list[str] = []
    delivery.connection.add_query_logger(lambda done: queries.append(done.query))
    await until_decisions_applied(delivery)

    assert sorted(delivery.outcomes()[3:]) == [("retried", "a"), ("retried", "b"), ("retried", "c")]
    assert sum("UPDATE dead_letters" in query for query in queries) == times


async def test_more_decisions_than_fit_into_a_cycle_are_applied_in_the_next_one(
    delivery: DeliveryHarness, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("worker.delivery.store.DECISIONS_MAX", 1)
    await decline_and_retry(delivery, "a", "b", "c")
    while not await delivery.value("SELECT count(*) FROM decisions WHERE applied_at IS NOT NULL"):
        await delivery.cycle()

    await delivery.cycle()
    await delivery.cycle()

    assert await delivery.value("SELECT count(*) FROM decisions WHERE applied_at IS NULL") == 0


async def test_a_clock_set_back_by_an_hour_delays_neither_connectors_nor_decisions(
    delivery: DeliveryHarness,
):
    delivery.connectors(acme="max_per_second = 1")
    await delivery.take_partitions()
    delivery.handler.reload()
    delivery.plan("decline")
    delivery.send("a")
    delivery.clock_ahead_ms = 3_600_000
    await delivery.cycle()

    delivery.clock_ahead_ms = 0
    delivery.handler.clock_set_back(3_600)

    delivery.send("b")
    await delivery.run_until(("a", "declined"), ("b", "succeeded"))
    await commands.abandon(delivery.connection, ANA, "a")
    await until_decisions_applied(delivery)
