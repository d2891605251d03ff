"""Metrics of unresolved and short commands, for the alerts that call an operator (docs/metrics.md)."""

from prometheus_client import REGISTRY

from tests.integration.cycle_harness import PARTITIONS
from tests.integration.delivery.harness import DeliveryHarness
from tests.measured import sample
from worker.domain.terms import HOUR_MS
from worker.sandbox.connector import Behaviour

STATES = ("asked_again", "manual", "suspect", "unknown")


async def _measured(delivery: DeliveryHarness, name: str) -> dict[str, float]:
    await delivery.handler.measure(delivery.connection, range(PARTITIONS))
    samples = {state: REGISTRY.get_sample_value(name, {"connector": "acme", "state": state}) for state in STATES}
    return {state: value for state, value in samples.items() if value is not None}


async def test_commands_without_a_definite_answer_are_counted_until_they_get_one(delivery: DeliveryHarness):
    for word, command_id, state in (("manual", "a", "manual"), ("echo", "b", "suspect")):
        delivery.plan(word)
        delivery.send(command_id)
        await delivery.run_until((command_id, state))
    delivery.acme.behaviour = Behaviour(currency="USD", rates={"error": 1.0})
    delivery.send("c")
    await delivery.cycle()
    while not await delivery.value("SELECT uncertain FROM commands WHERE command_id = 'c'"):
        await delivery.run_once()
    await delivery.connection.execute(
        "UPDATE commands SET first_attempt_at = clock_timestamp() - interval '2 hours' WHERE command_id = 'c'"
    )

    assert await _measured(delivery, "settlement_commands_unresolved") == {"asked_again": 1, "manual": 1, "suspect": 1}
    ages = await _measured(delivery, "settlement_commands_unresolved_age_seconds")
    assert 0 <= ages["manual"] < 7_200 <= ages["asked_again"]

    delivery.acme.behaviour = Behaviour(currency="USD")
    await delivery.run_until(("c", "succeeded"))
    assert await _measured(delivery, "settlement_commands_unresolved") == {"manual": 1, "suspect": 1}


async def test_a_short_command_is_counted_once(delivery: DeliveryHarness):
    before = REGISTRY.get_sample_value("settlement_short_total", {"connector": "acme"}) or 0
    delivery.plan("short")
    for command_id in ("a", "b"):
        delivery.send(command_id)
        await delivery.run_until((command_id, "succeeded"))

    assert REGISTRY.get_sample_value("settlement_short_total", {"connector": "acme"}) == before + 1


async def test_a_command_from_a_clock_that_is_ahead_took_no_time_rather_than_less_than_none(delivery: DeliveryHarness):
    def seconds() -> float:
        return sample("settlement_invoice_to_capture_seconds_sum", connector="acme")

    before = seconds()
    delivery.replace(delivery.send("a"), timestamp_ms=delivery.now_ms + HOUR_MS)
    await delivery.run_until(("a", "succeeded"))

    assert seconds() == before
