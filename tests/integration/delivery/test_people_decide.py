"""What a person decides about a command is done, and nobody is reminded of it any more."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from tests.integration.delivery import world as worlds
from tests.integration.delivery.world import PATIENCE_SECONDS, DeliveryWorld
from worker.people import commands
from worker.people.acting import Actor

ANA = Actor("ana", "spoke with the acquirer")

Act = Callable[[Any, Actor, str], Awaitable[None]]


async def until_all_are_applied(world: DeliveryWorld) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await world.value("SELECT count(*) FROM decisions WHERE applied_at IS NULL"):
            await world.cycle()


@pytest.mark.parametrize(("word", "state", "act", "status"), [
    ("decline", "declined", commands.retry, "replayed"),
    ("decline", "declined", commands.abandon, "discarded"),
    ("echo", "suspect", commands.retry, "replayed"),
    ("manual", "manual", commands.resolve, "discarded"),
])  # fmt: skip
async def test_a_decision_about_a_command_closes_its_dead_letter_under_the_persons_name(
    world: DeliveryWorld, word: str, state: str, act: Act, status: str
):
    world.plan(word)
    world.take("a")
    world.take("b")
    await world.until(("a", state), ("b", "succeeded"))
    assert await world.value("SELECT status FROM dead_letters") == "open"

    await act(world.connection, ANA, "a")
    await until_all_are_applied(world)

    assert tuple(await world.connection.fetchrow("SELECT status, decided_by, decided_reason FROM dead_letters")) == (
        status, "ana", "spoke with the acquirer",
    )  # fmt: skip


async def test_whoever_asked_again_for_a_doubtful_command_does_not_ask_for_the_new_one_that_it_has_become(
    world: DeliveryWorld,
):
    """Resolved as not done, it could be asked again, under another request id: a second effect, if that was wrong."""
    world.plan("echo")
    world.take("a")
    await world.until(("a", "suspect"))
    await commands.resolve(world.connection, ANA, "a")
    await commands.retry(world.connection, Actor("ben", "the same request id may be sent again"), "a")
    await until_all_are_applied(world)

    assert world.outcomes() == [("suspect", "a"), ("resolved", "a")]
    assert await world.value("SELECT refused FROM decisions WHERE decided_by = 'ben'") == (
        "the command has changed since it was looked at and is resolved now: look again, then decide"
    )


async def test_a_decision_that_came_too_late_changes_nothing_of_it(world: DeliveryWorld):
    world.plan("manual")
    world.take("a")
    await world.until(("a", "manual"))
    await commands.resolve(world.connection, ANA, "a")
    await commands.resolve(world.connection, Actor("ben", "typed at the same time"), "a")
    await until_all_are_applied(world)

    assert await world.value("SELECT decided_by FROM decisions WHERE refused IS NOT NULL") == "ben"
    assert await world.value("SELECT decided_by FROM dead_letters") == "ana"


async def test_a_clock_that_is_set_back_by_an_hour_silences_no_connector_and_keeps_nobodys_decision_waiting(
    world: DeliveryWorld, monkeypatch: pytest.MonkeyPatch
):
    world.connectors(acme="max_per_second = 1")
    await world.take_partitions()
    world.handler.reload()
    world.plan("decline")
    world.take("a")
    with monkeypatch.context() as ahead:
        ahead.setattr(worlds, "time", SimpleNamespace(time_ns=lambda: time.time_ns() + 3_600 * 10**9))
        await world.cycle()

    world.handler.clock_set_back()

    world.take("b")
    await world.until(("a", "declined"), ("b", "succeeded"))
    await commands.abandon(world.connection, ANA, "a")
    await until_all_are_applied(world)
