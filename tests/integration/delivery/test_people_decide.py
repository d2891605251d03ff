"""What a person decides about a command is done, and nobody is reminded of it any more."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.integration.delivery.harness import PATIENCE_SECONDS, DeliveryHarness
from worker.people import commands
from worker.people.acting import Actor

ANA = Actor("ana", "spoke with the acquirer")

Act = Callable[[Any, Actor, str], Awaitable[None]]


async def until_all_are_applied(delivery: DeliveryHarness) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await delivery.value("SELECT count(*) FROM decisions WHERE applied_at IS NULL"):
            await delivery.cycle()


@pytest.mark.parametrize(("word", "state", "act", "status"), [
    ("decline", "declined", commands.retry, "replayed"),
    ("decline", "declined", commands.abandon, "discarded"),
    ("echo", "suspect", commands.retry, "replayed"),
    ("manual", "manual", commands.resolve, "discarded"),
])  # fmt: skip
async def test_a_decision_about_a_command_closes_its_dead_letter_under_the_persons_name(
    delivery: DeliveryHarness, word: str, state: str, act: Act, status: str
):
    delivery.plan(word)
    delivery.send("a")
    delivery.send("b")
    await delivery.run_until(("a", state), ("b", "succeeded"))
    assert await delivery.value("SELECT status FROM dead_letters") == "open"

    await act(delivery.connection, ANA, "a")
    await until_all_are_applied(delivery)

    assert tuple(await delivery.connection.fetchrow("SELECT status, decided_by, decided_reason FROM dead_letters")) == (
        status, "ana", "spoke with the acquirer",
    )  # fmt: skip


async def test_whoever_asked_again_for_a_doubtful_command_does_not_ask_for_the_new_one_that_it_has_become(
    delivery: DeliveryHarness,
):
    """Resolved as not done, it could be asked again, under another request id: a second effect, if that was wrong."""
    delivery.plan("echo")
    delivery.send("a")
    await delivery.run_until(("a", "suspect"))
    await commands.resolve(delivery.connection, ANA, "a")
    await commands.retry(delivery.connection, Actor("ben", "the same request id may be sent again"), "a")
    await until_all_are_applied(delivery)

    assert delivery.outcomes() == [("suspect", "a"), ("resolved", "a")]
    assert await delivery.value("SELECT refused FROM decisions WHERE decided_by = 'ben'") == (
        "the command has changed since it was looked at and is resolved now: look again, then decide"
    )


async def test_a_decision_that_came_too_late_changes_nothing_of_it(delivery: DeliveryHarness):
    delivery.plan("manual")
    delivery.send("a")
    await delivery.run_until(("a", "manual"))
    await commands.resolve(delivery.connection, ANA, "a")
    await commands.resolve(delivery.connection, Actor("ben", "typed at the same time"), "a")
    await until_all_are_applied(delivery)

    assert await delivery.value("SELECT decided_by FROM decisions WHERE refused IS NOT NULL") == "ben"
    assert await delivery.value("SELECT decided_by FROM dead_letters") == "ana"


async def test_a_clock_that_is_set_back_by_an_hour_silences_no_connector_and_keeps_nobodys_decision_waiting(
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
    await until_all_are_applied(delivery)
