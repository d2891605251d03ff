"""What has no definite answer is counted, for the alerts that call a person (docs/metrics.md)."""

from prometheus_client import REGISTRY

from tests.integration.delivery.world import PARTITIONS, DeliveryWorld

STATES = ("asked_again", "manual", "suspect", "unknown")


async def _measured(world: DeliveryWorld, name: str) -> dict[str, float]:
    await world.handler.measure(world.connection, range(PARTITIONS))
    found = {state: REGISTRY.get_sample_value(name, {"connector": "acme", "state": state}) for state in STATES}
    return {state: value for state, value in found.items() if value is not None}


async def test_commands_without_a_definite_answer_are_counted_until_there_is_one(world: DeliveryWorld):
    for word, command_id, state in (("manual", "a", "manual"), ("echo", "b", "suspect")):
        world.plan(word)
        world.take(command_id)
        await world.until((command_id, state))
    world.plan(*["error"] * 200)
    world.take("c")
    await world.cycle()
    while not await world.value("SELECT uncertain FROM commands WHERE command_id = 'c'"):
        await world.run_once()
    await world.connection.execute(
        "UPDATE commands SET first_attempt_at = clock_timestamp() - interval '2 hours' WHERE command_id = 'c'"
    )

    assert await _measured(world, "settlement_commands_unresolved") == {"asked_again": 1, "manual": 1, "suspect": 1}
    ages = await _measured(world, "settlement_commands_unresolved_age_seconds")
    assert 0 <= ages["manual"] < 7_200 <= ages["asked_again"]

    world.acme._next.clear()
    await world.until(("c", "succeeded"))
    assert await _measured(world, "settlement_commands_unresolved") == {"manual": 1, "suspect": 1}
