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
