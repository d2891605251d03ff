"""The schedule is in the table: memory holds a window of it, and each payment's commands keep their line (I6)."""

import asyncio
import time

import asyncpg
import msgspec
import pytest

from tests.integration.delivery.world import PARTITIONS, DeliveryWorld
from worker import metrics, telemetry
from worker.delivery import window as windows
from worker.kafka import names
from worker.sandbox.connector import Faults
from worker.stream.cycle import Cycle


async def test_commands_of_a_payment_go_one_at_a_time_in_their_order(world: DeliveryWorld):
    world.take("b", 2, "p")
    await world.cycle()
    assert world.asked() == []

    world.take("a", 1, "p")
    world.take("c", 3, "p")
    await world.until(("a", "succeeded"), ("b", "succeeded"), ("c", "succeeded"))

    assert world.asked() == ["a", "b", "c"]
    assert world.outcomes() == [("succeeded", "a"), ("succeeded", "b"), ("succeeded", "c")]


@pytest.mark.parametrize(("word", "state", "goes_on"), [
    ("decline", "declined", True), ("manual", "manual", True), ("echo", "suspect", False)])  # fmt: skip
async def test_what_left_the_line_lets_the_next_go_and_what_is_doubtful_holds_it(
    world: DeliveryWorld, word: str, state: str, goes_on: bool
):
    world.plan(word)
    world.take("a", 1, "p")
    world.take("b", 2, "p")
    world.take("other")

    await world.until(("a", state), ("other", "succeeded"), *([("b", "succeeded")] if goes_on else []))
    await world.cycle()

    assert await world.value("SELECT state FROM commands WHERE command_id = 'b'") == (
        "succeeded" if goes_on else "waiting")  # fmt: skip
    assert await world.value("SELECT turn FROM commands WHERE command_id = 'b'") == goes_on


async def test_memory_holds_a_window_and_the_table_the_rest(world: DeliveryWorld, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(windows, "COMMANDS_MAX", 20)
    monkeypatch.setattr(windows, "COMMANDS_LOW", 10)
    world.connectors()
    world.handler.reload()
    names = [f"c{number:03}" for number in range(200)]
    for name in names:
        world.take(name, 1, f"p{name}")
        if name.endswith("0"):
            await world.cycle()
    world.take("one more of the first", 2, "pc000")
    await world.cycle()
    lane = world.handler._lanes["acme"]
    assert len(lane.window) <= 40

    world.connectors(acme="max_in_flight = 7")
    world.handler.reload()
    while len(world.effects()) < len(names) + 1:
        await world.run_once()
        assert len(lane.window) <= 40
        assert lane.in_flight <= 7

    await world.until(*((name, "succeeded") for name in names), ("one more of the first", "succeeded"))
    assert sorted(world.asked()) == sorted([*names, "one more of the first"])


async def test_after_a_restart_the_table_says_what_is_due(world: DeliveryWorld):
    world.plan("error", "error")
    world.take("a", 1, "p")
    world.take("b", 2, "p")
    await world.cycle()
    await world.handler.release(frozenset(world.epochs))
    await world.cycle()

    world.start()
    await world.take_partitions()
    await world.until(("a", "succeeded"), ("b", "succeeded"))

    assert world.asked() == ["a", "a", "a", "b"]
    assert await world.value("SELECT attempts FROM commands WHERE command_id = 'a'") == 3


async def test_an_attempt_without_a_result_is_unknown_and_waits_until_nobody_else_can_be_sending(
    world: DeliveryWorld,
):
    world.plan("silence")
    world.take("a")
    await world.cycle()
    lease_until_ms = time.time_ns() // 1_000_000 + 200

    world.start()
    await world.take_partitions(former_lease_until_ms=lease_until_ms)
    row = await world.connection.fetchrow("SELECT uncertain, begun, due_at FROM commands")
    await world.until(("a", "succeeded"))

    assert row["uncertain"]
    assert row["begun"] is None
    assert row["due_at"].timestamp() * 1000 == pytest.approx(lease_until_ms + 2_000, abs=1)
    assert time.time_ns() // 1_000_000 >= lease_until_ms + 2_000
    assert world.asked() == ["a", "a"]
    assert world.effects() == ["a"]


async def test_a_result_counts_only_for_the_epoch_that_began_it(world: DeliveryWorld):
    world.take("a")
    await world.cycle()
    await world.take_partitions()  # lost and taken again, while the request is under way

    await world.until(("a", "succeeded"))

    assert await world.value("SELECT uncertain FROM commands")
    assert world.outcomes() == [("succeeded", "a")]
    assert world.asked() == ["a", "a"]


async def test_a_transaction_that_did_not_happen_sends_nothing_and_loses_nothing(world: DeliveryWorld):
    world.take("a", 1, "p")
    world.take("b", 2, "p")
    with pytest.raises(RuntimeError):
        await world.cycle(refuse=True)
    await asyncio.sleep(0)
    assert world.asked() == []

    await world.cycle()
    await world.handler._sending.landed(frozenset(world.epochs))  # the answer is there
    with pytest.raises(RuntimeError):
        await world.cycle(refuse=True)
    await world.until(("a", "succeeded"), ("b", "succeeded"))

    assert world.asked() == ["a", "b"]
    assert world.outcomes() == [("succeeded", "a"), ("succeeded", "b")]
    assert world.handler._lanes["acme"].in_flight == 0


async def test_every_command_is_counted_once_however_often_its_cycle_is_tried(world: DeliveryWorld):
    fates = ("applied", "duplicate", "dead_lettered")
    counters = [metrics.facts_total.labels(topic=names.COMMANDS, fate=fate) for fate in fates]
    before = [one._value.get() for one in counters]
    world.take("a")
    await world.cycle()
    for value in (100, 100, 999):  # the first is another command, the next its repeat, the last is suspect
        world.take("b", value=value)
    world.take("a")
    world.take("c", operation="shred")

    for _ in range(2):
        with pytest.raises(RuntimeError):
            await world.cycle(refuse=True)
    await world.cycle()
    await world.cycle()

    assert [one._value.get() - was for one, was in zip(counters, before, strict=True)] == [2, 2, 2]


async def test_another_cycle_s_commit_sends_nothing_that_was_not_written_down(world: DeliveryWorld):
    world.take("a")
    with pytest.raises(RuntimeError):
        await world.cycle(refuse=True)

    # As after a record that the database refuses alone: its dead letter is committed without the handler.
    await world.handler.committed(Cycle(world.connection, [], world.epochs, 0, PARTITIONS))
    await world.handler.release(frozenset())
    assert not world.handler._sending._flying

    await world.until(("a", "succeeded"))
    assert world.asked() == ["a"]


async def test_what_is_handed_over_is_not_begun(world: DeliveryWorld):
    world.take("a")
    mine = frozenset(world.epochs)
    await world.handler.release(mine)
    await world.cycle()

    assert await world.value("SELECT attempts FROM commands") == 0
    assert world.asked() == []
    world.start()
    await world.take_partitions()
    await world.until(("a", "succeeded"))


async def test_past_the_lease_nothing_is_sent_and_it_counts_as_not_sent(world: DeliveryWorld):
    world.take("a")
    world.control.lease_ends = 0.0
    await world.cycle()
    await world.cycle()

    assert world.asked() == []
    row = await world.connection.fetchrow("SELECT fate, ended_at FROM attempts")
    assert row["fate"] == "not_sent"
    assert await world.value("SELECT uncertain FROM commands") is False


async def test_a_worker_that_is_frozen_before_its_first_byte_sends_nothing_once_its_lease_is_over(world: DeliveryWorld):
    world.take("a")
    await world.cycle()
    world.control.lease_ends = 0.0
    await world.handler._sending.landed(frozenset(world.epochs))
    await world.cycle()

    assert world.asked() == []
    assert await world.value("SELECT fate FROM attempts") == "not_sent"
    assert await world.value("SELECT uncertain FROM commands") is False
    world.control.lease_ends = time.monotonic() + 3600
    await world.until(("a", "succeeded"))
    assert world.asked() == ["a"]


async def test_a_worker_that_lost_all_before_its_first_byte_sends_nothing_and_owes_nobody_a_result(
    world: DeliveryWorld,
):
    world.take("a")
    await world.cycle()
    [(_, task)] = world.handler._sending._flying.values()
    world.control.epochs = {}
    world.handler.dropped()
    await task

    assert world.asked() == []
    assert world.handler._sending.results == []
    assert world.handler._lanes["acme"].in_flight == 0
    await world.take_partitions()
    await world.until(("a", "succeeded"))
    assert await world.value("SELECT uncertain FROM commands"), "nobody saw whether it left"


async def test_what_is_under_way_when_the_worker_must_go_is_answered_and_booked(world: DeliveryWorld):
    world.acme.faults = Faults(latency_ms=200, currency="USD")
    world.take("a")
    await world.cycle()

    await world.handler.release(frozenset(world.epochs))
    await world.cycle()

    assert await world.value("SELECT state FROM commands") == "succeeded"
    assert world.outcomes() == [("succeeded", "a")]


async def test_the_horizon_comes_also_while_nobody_may_ask_the_connector(world: DeliveryWorld):
    world.connectors(acme="horizon_hours = 0.0003\nprobe_seconds = 3600")
    world.handler.reload()
    world.plan("error", "forbidden")
    world.take("a")

    await world.until(("a", "unknown"))

    assert world.asked() == ["a", "a"]
    assert world.outcomes() == [("unknown", "a")]


async def test_a_connector_that_the_file_stops_naming_while_a_command_is_let_out_keeps_its_commands_waiting(
    world: DeliveryWorld,
):
    def stop_naming() -> None:
        world.connectors(other="")
        world.handler.reload()

    world.take("a", 1, "p")
    world.take("b", 2, "p")
    await world.cycle(before_commit=stop_naming)
    await world.until(("a", "succeeded"), ("b", "waiting"))
    await world.cycle()
    assert world.asked() == ["a"]

    world.connectors(acme="")
    world.handler.reload()
    await world.until(("b", "succeeded"))

    assert world.asked() == ["a", "b"]


async def test_a_changed_table_is_gone_by_at_once_whatever_the_old_one_had_to_wait_for(world: DeliveryWorld):
    world.connectors(acme="max_per_second = 0.001")
    world.handler.reload()
    world.take("a")
    world.take("b")
    await world.until(("a", "succeeded"), ("b", "waiting"))
    world.connectors(acme="max_per_second = 1000")
    world.handler.reload()
    await world.until(("b", "succeeded"))

    moved_away = world.file.read_text().replace(world.url, "http://127.0.0.1:1")
    world.file.write_text(f"{moved_away}breaker_failures = 1\nbreaker_seconds = 3600\n")
    world.handler.reload()
    world.take("c")
    await world.until(("c", "waiting"))
    while "not_sent" not in [row["fate"] for row in await world.connection.fetch("SELECT fate FROM attempts")]:
        await world.run_once()
    world.connectors(acme="")
    world.handler.reload()
    await world.until(("c", "succeeded"))


async def test_a_connector_that_the_file_no_longer_names_is_missed_only_while_commands_wait_for_it(
    world: DeliveryWorld,
):
    def missed() -> list[str]:
        return [one["connector"] for one in telemetry.lasting_alerts() if one["code"] == "unknown_connector"]

    world.take("a")
    await world.until(("a", "succeeded"))
    world.connectors(other="")
    world.handler.reload()
    await world.cycle()
    assert missed() == []

    world.take("b")
    await world.cycle()
    assert missed() == ["acme"]

    world.connectors(acme="")
    world.handler.reload()
    await world.until(("b", "succeeded"))
    assert missed() == []


async def test_a_command_within_an_envelope_or_behind_a_schema_id_is_sent_like_any_other(world: DeliveryWorld):
    within, again = world.take("within"), world.take("within")
    behind = world.take("behind")
    data = msgspec.Raw(within.value or b"")
    envelope = {"specversion": "1.0", "id": "1", "source": "a", "type": "command.settle", "data": data}
    world.replace(within, value=msgspec.json.encode(envelope), headers=[])
    world.replace(behind, value=b"\0\0\0\0\7" + (behind.value or b""))

    await world.until(("within", "succeeded"), ("behind", "succeeded"))

    assert sorted(world.asked()) == ["behind", "within"]
    assert await world.value("SELECT count(*) FROM dead_letters") == 0
    bodies = await world.value("SELECT array_agg(body ORDER BY command_id) FROM commands")
    assert bodies == [(behind.value or b""), again.value]


async def test_the_next_due_commands_are_found_by_an_index_among_a_great_many(world: DeliveryWorld):
    await world.connection.execute("""
        INSERT INTO commands (command_id, partition, order_id, payment_id, sequence, operation, connector, value, topic,
            source_partition, "offset", body, headers, "timestamp", due_at, taken_at, turn)
        SELECT 'c' || n, n % 4, 'o' || n, 'p' || n / 2, 1 + n % 2, 'settle', 'c' || n % 3, 1, 't', 0, n, '', '',
            now(), now() + n * interval '1 ms', now(), n % 2 = 0
        FROM generate_series(0, 20000) AS n""")
    await world.connection.execute("ANALYZE commands")

    async with asyncio.timeout(10):
        plan = await _plan(world.connection)

    assert "commands_to_send" in plan
    assert "Sort" not in plan


async def _plan(connection: asyncpg.Connection) -> str:
    from worker.postgres.queries import load

    query = load("worker.delivery")["next_due"]
    for place, literal in enumerate(("'c1'", "'{0,1,2,3}'", "now()", "''", "100"), 1):
        query = query.replace(f"${place}", literal)
    return "\n".join(row[0] for row in await connection.fetch("EXPLAIN " + query))
