"""A wall clock that was wrong keeps no command waiting for as long as it was wrong."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.integration.delivery.harness import DeliveryHarness
from worker.delivery import sending
from worker.delivery.schedule import HOUR_MS, longest_wait_ms


@contextmanager
def clock_ahead(delivery: DeliveryHarness, hours: int) -> Iterator[None]:
    delivery.clock_ahead_ms = hours * HOUR_MS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sending, "_now_ms", lambda: time.time_ns() // 1_000_000 + delivery.clock_ahead_ms)
        yield
    delivery.clock_ahead_ms = 0


async def queue_up(delivery: DeliveryHarness) -> None:
    """Leaves one command to be asked again, its successor, and one that waits for its connector's limit."""
    delivery.connectors(acme="max_per_second = 2")
    delivery.handler.reload()
    delivery.plan("error")
    delivery.send("retried", 1, "p")
    delivery.send("successor", 2, "p")
    delivery.send("unsent")
    await delivery.cycle()
    await delivery.until_result()
    await delivery.cycle()
    assert delivery.asked() == ["retried"]


async def test_a_clock_set_back_by_an_hour_delays_neither_retries_nor_queued_commands_nor_successors(
    delivery: DeliveryHarness,
):
    with clock_ahead(delivery, 1):
        await queue_up(delivery)

    delivery.handler.clock_set_back(3_600)

    await delivery.run_until(("retried", "succeeded"), ("successor", "succeeded"), ("unsent", "succeeded"))


async def test_a_correction_that_was_not_committed_is_made_again_and_one_that_was_is_made_once(
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

    now_due_at = await delivery.value("SELECT due_at FROM commands WHERE command_id = 'retried'")
    assert (due_at - now_due_at).total_seconds() == 1_200


async def test_what_a_worker_with_a_clock_far_ahead_leaves_waits_no_longer_than_a_command_ever_does(
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


async def test_a_command_whose_turn_comes_late_is_due_by_the_clock_of_whoever_passes_the_turn(
    delivery: DeliveryHarness,
):
    with clock_ahead(delivery, 1):
        delivery.send("second", 2, "p")
        await delivery.cycle()

    delivery.send("first", 1, "p")

    await delivery.run_until(("first", "succeeded"), ("second", "succeeded"))
    assert delivery.asked() == ["first", "second"]
