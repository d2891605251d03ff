"""A corrected wall clock delays no command by as much as it was wrong."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.integration.delivery.harness import DeliveryHarness
from worker.delivery import sending
from worker.delivery.schedule import HOUR_MS, longest_wait_ms
from worker.sandbox.connector import Behaviour


@contextmanager
def clock_ahead(delivery: DeliveryHarness, hours: int) -> Iterator[None]:
    delivery.clock_ahead_ms = hours * HOUR_MS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sending, "_now_ms", lambda: time.time_ns() // 1_000_000 + delivery.clock_ahead_ms)
        yield
    delivery.clock_ahead_ms = 0


async def queue_up(delivery: DeliveryHarness) -> None:
    """Leaves a command to be retried, its successor, and one that waits for the connector's rate limit."""
    delivery.connectors(acme="max_per_second = 2")
    delivery.handler.reload()
    delivery.plan("error")
    delivery.send("retried", 1, "p")
    delivery.send("successor", 2, "p")
    delivery.send("unsent")
    await delivery.cycle()
    await delivery.until_result()
    await delivery.cycle()
    assert delivery.requested() == ["retried"]


async def test_a_clock_set_back_by_an_hour_delays_neither_retries_nor_queued_commands_nor_successors(
    delivery: DeliveryHarness,
):
    with clock_ahead(delivery, 1):
        await queue_up(delivery)

    delivery.handler.clock_set_back(3_600)

    await delivery.run_until(("retried", "succeeded"), ("successor", "succeeded"), ("unsent", "succeeded"))


async def test_a_clock_correction_is_repeated_after_a_rollback_and_applied_once(
    delivery: DeliveryHarness,
):
    with clock_ahead(delivery, 1):
        await queue_up(delivery)
        due_at = await delivery.value("SELECT due_at FROM commands WHERE command_id = 'retried'")
    delivery.connectors(other="")
    delivery.handler.reload()
    delivery.handler.clock_set_back(1_200)

    await delivery.roll_back()
    await delivery.cycle()
    await delivery.cycle()

    corrected_due_at = await delivery.value("SELECT due_at FROM commands WHERE command_id = 'retried'")
    assert (due_at - corrected_due_at).total_seconds() == 1_200


async def test_commands_left_by_a_worker_with_a_clock_far_ahead_wait_at_most_the_longest_wait(
    delivery: DeliveryHarness,
):
    with clock_ahead(delivery, 240):
        await queue_up(delivery)

    delivery.start()
    await delivery.take_partitions()

    due_at = await delivery.value("SELECT due_at FROM commands WHERE command_id = 'retried'")
    longest_ms = longest_wait_ms([])
    assert longest_ms == pytest.approx((due_at.timestamp() - time.time()) * 1000, abs=60_000)
    await delivery.run_until(("unsent", "succeeded"))
    assert await delivery.value("SELECT state FROM commands WHERE command_id = 'retried'") == "waiting"


async def test_a_command_is_due_by_the_clock_of_the_worker_that_gives_it_its_turn(
    delivery: DeliveryHarness,
):
    with clock_ahead(delivery, 1):
        delivery.send("second", 2, "p")
        await delivery.cycle()

    delivery.send("first", 1, "p")

    await delivery.run_until(("first", "succeeded"), ("second", "succeeded"))
    assert delivery.requested() == ["first", "second"]


async def test_an_answer_that_is_booked_after_the_clock_was_set_back_delays_its_command_no_longer(
    delivery: DeliveryHarness,
):
    with clock_ahead(delivery, 1):
        delivery.plan("error")
        delivery.send("a")
        await delivery.cycle()
        await delivery.until_result()

    delivery.handler.clock_set_back(3_600)

    await delivery.run_until(("a", "succeeded"))


async def test_the_horizon_ends_in_time_although_the_clock_was_far_ahead_at_the_first_attempt(
    delivery: DeliveryHarness,
):
    delivery.connectors(acme="horizon_hours = 0.0003")
    delivery.handler.reload()
    delivery.acme.behaviour = Behaviour(rates={"error": 1.0}, currency="USD")
    with clock_ahead(delivery, 240):
        delivery.send("a")
        await delivery.cycle()

    delivery.handler.clock_set_back(240 * 3_600)

    await delivery.run_until(("a", "unknown"))
    assert len(delivery.requested()) > 1
