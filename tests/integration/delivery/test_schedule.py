"""The schedule is in the table: memory holds a window of it, and each payment's commands keep their line (I6)."""

import asyncio
import time

import asyncpg
import msgspec
import pytest

from tests.integration.cycle_harness import PARTITIONS
from tests.integration.delivery.harness import PATIENCE_SECONDS, DeliveryHarness
from tests.measured import facts
from tests.until import until
from worker import telemetry
from worker.delivery import window as windows
from worker.delivery.store import EndedAttempt, Store
from worker.kafka import names
from worker.sandbox.connector import Behaviour
from worker.stream.clock import lease_time
from worker.stream.cycle import Cycle


async def test_commands_of_a_payment_go_one_at_a_time_in_their_order(delivery: DeliveryHarness):
    delivery.send("b", 2, "p")
    await delivery.cycle()
    assert delivery.asked() == []

    delivery.send("a", 1, "p")
    delivery.send("c", 3, "p")
    await delivery.run_until(("a", "succeeded"), ("b", "succeeded"), ("c", "succeeded"))

    assert delivery.asked() == ["a", "b", "c"]
    assert delivery.outcomes() == [("succeeded", "a"), ("succeeded", "b"), ("succeeded", "c")]


@pytest.mark.parametrize(("word", "state", "goes_on"), [
    ("decline", "declined", True), ("manual", "manual", True), ("echo", "suspect", False)])  # fmt: skip
async def test_what_left_the_line_lets_the_next_go_and_what_is_doubtful_holds_it(
    delivery: DeliveryHarness, word: str, state: str, goes_on: bool
):
    delivery.plan(word)
    delivery.send("a", 1, "p")
    delivery.send("b", 2, "p")
    delivery.send("other")

    await delivery.run_until(("a", state), ("other", "succeeded"), *([("b", "succeeded")] if goes_on else []))
    await delivery.cycle()

    assert await delivery.value("SELECT state FROM commands WHERE command_id = 'b'") == (
        "succeeded" if goes_on else "waiting")  # fmt: skip
    assert await delivery.value("SELECT turn FROM commands WHERE command_id = 'b'") == goes_on


async def test_memory_holds_a_window_and_the_table_the_rest(delivery: DeliveryHarness, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(windows, "COMMANDS_MAX", 20)
    monkeypatch.setattr(windows, "COMMANDS_LOW", 10)
    delivery.connectors()
    delivery.handler.reload()
    names = [f"c{number:03}" for number in range(200)]
    for name in names:
        delivery.send(name, 1, f"p{name}")
        if name.endswith("0"):
            await delivery.cycle()
    delivery.send("one more of the first", 2, "pc000")
    await delivery.cycle()
    lane = delivery.lane
    assert len(lane.window) <= 40

    delivery.connectors(acme="max_in_flight = 7")
    delivery.handler.reload()
    while len(delivery.effects()) < len(names) + 1:
        await delivery.run_once()
        assert len(lane.window) <= 40
        assert lane.in_flight <= 7

    await delivery.run_until(*((name, "succeeded") for name in names), ("one more of the first", "succeeded"))
    assert sorted(delivery.asked()) == sorted([*names, "one more of the first"])


async def test_after_a_restart_the_table_says_what_is_due(delivery: DeliveryHarness):
    delivery.plan("error", "error")
    delivery.send("a", 1, "p")
    delivery.send("b", 2, "p")
    await delivery.cycle()
    await delivery.handler.release(frozenset(delivery.epochs))
    await delivery.cycle()

    delivery.start()
    await delivery.take_partitions()
    await delivery.run_until(("a", "succeeded"), ("b", "succeeded"))

    assert delivery.asked() == ["a", "a", "a", "b"]
    assert await delivery.value("SELECT attempts FROM commands WHERE command_id = 'a'") == 3


async def test_an_attempt_without_a_result_is_unknown_and_waits_until_nobody_else_can_be_sending(
    delivery: DeliveryHarness,
):
    timeout_ms = 500
    delivery.connectors(acme=f"timeout_seconds = {timeout_ms / 1000}")
    delivery.plan("silence")
    delivery.send("a")
    await delivery.cycle()
    lease_until_ms = time.time_ns() // 1_000_000 + 200

    delivery.start()
    await delivery.take_partitions(former_lease_until_ms=lease_until_ms)
    row = await delivery.connection.fetchrow("SELECT uncertain, begun, due_at FROM commands")
    await delivery.run_until(("a", "succeeded"))

    assert row["uncertain"]
    assert row["begun"] is None
    assert row["due_at"].timestamp() * 1000 == pytest.approx(lease_until_ms + timeout_ms, abs=1)
    assert time.time_ns() // 1_000_000 >= lease_until_ms + timeout_ms
    assert delivery.asked() == ["a", "a"]
    assert delivery.effects() == ["a"]


async def test_a_result_counts_only_for_the_epoch_that_began_it(delivery: DeliveryHarness):
    delivery.send("a")
    await delivery.cycle()
    await delivery.take_partitions()  # lost and taken again, while the request is under way

    await delivery.run_until(("a", "succeeded"))

    assert await delivery.value("SELECT uncertain FROM commands")
    assert delivery.outcomes() == [("succeeded", "a")]
    assert delivery.asked() == ["a", "a"]


async def test_a_transaction_that_did_not_happen_sends_nothing_and_loses_nothing(delivery: DeliveryHarness):
    delivery.send("a", 1, "p")
    delivery.send("b", 2, "p")
    await delivery.roll_back()
    await asyncio.sleep(0)
    assert delivery.asked() == []

    await delivery.cycle()
    await delivery.until_result()
    await delivery.roll_back()
    await delivery.run_until(("a", "succeeded"), ("b", "succeeded"))

    assert delivery.asked() == ["a", "b"]
    assert delivery.outcomes() == [("succeeded", "a"), ("succeeded", "b")]
    assert delivery.lane.in_flight == 0


async def test_every_command_is_counted_once_however_often_its_cycle_is_tried(delivery: DeliveryHarness):
    fates = ("applied", "duplicate", "dead_lettered")
    before = [facts(names.COMMANDS, fate) for fate in fates]
    delivery.send("a")
    await delivery.cycle()
    for value in (100, 100, 999):  # the first is another command, the next its repeat, the last is suspect
        delivery.send("b", value=value)
    delivery.send("a")
    delivery.send("c", operation="shred")

    for _ in range(2):
        await delivery.roll_back()
    await delivery.cycle()
    await delivery.cycle()

    assert [facts(names.COMMANDS, fate) - was for fate, was in zip(fates, before, strict=True)] == [2, 2, 2]


async def test_another_cycle_s_commit_sends_nothing_that_was_not_written_down(delivery: DeliveryHarness):
    delivery.send("a")
    await delivery.roll_back()

    # As after a record that the database refuses alone: its dead letter is committed without the handler.
    await delivery.handler.committed(Cycle(delivery.connection, [], delivery.epochs, 0, PARTITIONS))
    await delivery.handler.release(frozenset(delivery.epochs))  # waits for whatever is under way
    assert delivery.asked() == []

    await delivery.take_partitions()
    await delivery.run_until(("a", "succeeded"))
    assert delivery.asked() == ["a"]


async def test_what_is_handed_over_is_not_begun(delivery: DeliveryHarness):
    delivery.send("a")
    mine = frozenset(delivery.epochs)
    await delivery.handler.release(mine)
    await delivery.cycle()

    assert await delivery.value("SELECT attempts FROM commands") == 0
    assert delivery.asked() == []
    delivery.start()
    await delivery.take_partitions()
    await delivery.run_until(("a", "succeeded"))


async def test_past_the_lease_nothing_is_sent_and_it_counts_as_not_sent(delivery: DeliveryHarness):
    delivery.send("a")
    delivery.control.lease_ends = 0.0
    await delivery.cycle()
    await delivery.cycle()

    assert delivery.asked() == []
    row = await delivery.connection.fetchrow("SELECT fate, ended_at FROM attempts")
    assert row["fate"] == "not_sent"
    assert await delivery.value("SELECT uncertain FROM commands") is False


async def test_a_worker_that_is_frozen_before_its_first_byte_sends_nothing_once_its_lease_is_over(
    delivery: DeliveryHarness,
):
    delivery.send("a")
    await delivery.cycle()
    delivery.control.lease_ends = 0.0
    await delivery.until_result()
    await delivery.cycle()

    assert delivery.asked() == []
    assert await delivery.value("SELECT fate FROM attempts") == "not_sent"
    assert await delivery.value("SELECT uncertain FROM commands") is False
    delivery.control.lease_ends = lease_time() + 3600
    await delivery.run_until(("a", "succeeded"))
    assert delivery.asked() == ["a"]


async def test_a_worker_that_lost_all_before_its_first_byte_sends_nothing_and_owes_nobody_a_result(
    delivery: DeliveryHarness,
):
    delivery.send("a")
    await delivery.cycle()
    delivery.control.epochs = {}
    delivery.handler.dropped()
    await until(lambda: delivery.lane.in_flight == 0, PATIENCE_SECONDS)

    assert delivery.asked() == []
    assert not delivery.control.cycle_wanted, "there is no result to book"
    await delivery.take_partitions()
    await delivery.run_until(("a", "succeeded"))
    assert await delivery.value("SELECT uncertain FROM commands"), "nobody saw whether it left"


async def test_what_is_under_way_when_the_worker_must_go_is_answered_and_booked(delivery: DeliveryHarness):
    delivery.acme.behaviour = Behaviour(latency_ms=200, currency="USD")
    delivery.send("a")
    await delivery.cycle()

    await delivery.handler.release(frozenset(delivery.epochs))
    await delivery.cycle()

    assert await delivery.value("SELECT state FROM commands") == "succeeded"
    assert delivery.outcomes() == [("succeeded", "a")]


async def test_the_horizon_comes_also_while_nobody_may_ask_the_connector(delivery: DeliveryHarness):
    delivery.connectors(acme="horizon_hours = 0.0003\nprobe_seconds = 3600")
    delivery.handler.reload()
    delivery.plan("error", "forbidden")
    delivery.send("a")

    await delivery.run_until(("a", "unknown"))

    assert delivery.asked() == ["a", "a"]
    assert delivery.outcomes() == [("unknown", "a")]


async def test_a_connector_that_the_file_stops_naming_while_a_command_is_let_out_keeps_its_commands_waiting(
    delivery: DeliveryHarness,
):
    def stop_naming() -> None:
        delivery.connectors(other="")
        delivery.handler.reload()

    delivery.send("a", 1, "p")
    delivery.send("b", 2, "p")
    await delivery.cycle(before_commit=stop_naming)
    await delivery.run_until(("a", "succeeded"), ("b", "waiting"))
    await delivery.cycle()
    assert delivery.asked() == ["a"]

    delivery.connectors(acme="")
    delivery.handler.reload()
    await delivery.run_until(("b", "succeeded"))

    assert delivery.asked() == ["a", "b"]


async def test_a_changed_table_is_gone_by_at_once_whatever_the_old_one_had_to_wait_for(delivery: DeliveryHarness):
    delivery.connectors(acme="max_per_second = 0.001")
    delivery.handler.reload()
    delivery.send("a")
    delivery.send("b")
    await delivery.run_until(("a", "succeeded"), ("b", "waiting"))
    delivery.connectors(acme="max_per_second = 1000")
    delivery.handler.reload()
    await delivery.run_until(("b", "succeeded"))

    moved_away = delivery.file.read_text().replace(delivery.url, "http://127.0.0.1:1")
    delivery.file.write_text(f"{moved_away}breaker_failures = 1\nbreaker_seconds = 3600\n")
    delivery.handler.reload()
    delivery.send("c")
    await delivery.run_until(("c", "waiting"))
    while "not_sent" not in [row["fate"] for row in await delivery.connection.fetch("SELECT fate FROM attempts")]:
        await delivery.run_once()
    delivery.connectors(acme="")
    delivery.handler.reload()
    await delivery.run_until(("c", "succeeded"))


async def test_a_connector_that_the_file_no_longer_names_is_missed_only_while_commands_wait_for_it(
    delivery: DeliveryHarness,
):
    def missed() -> list[str]:
        return [one["connector"] for one in telemetry.lasting_alerts() if one["code"] == "unknown_connector"]

    delivery.send("a")
    await delivery.run_until(("a", "succeeded"))
    delivery.connectors(other="")
    delivery.handler.reload()
    await delivery.cycle()
    assert missed() == []

    delivery.send("b")
    await delivery.cycle()
    assert missed() == ["acme"]

    delivery.connectors(acme="")
    delivery.handler.reload()
    await delivery.run_until(("b", "succeeded"))
    assert missed() == []


async def test_a_command_within_an_envelope_or_behind_a_schema_id_is_sent_like_any_other(delivery: DeliveryHarness):
    within, again = delivery.send("within"), delivery.send("within")
    behind = delivery.send("behind")
    data = msgspec.Raw(within.value or b"")
    envelope = {"specversion": "1.0", "id": "1", "source": "a", "type": "command.settle", "data": data}
    delivery.replace(within, value=msgspec.json.encode(envelope), headers=[])
    delivery.replace(behind, value=b"\0\0\0\0\7" + (behind.value or b""))

    await delivery.run_until(("within", "succeeded"), ("behind", "succeeded"))

    assert sorted(delivery.asked()) == ["behind", "within"]
    assert await delivery.value("SELECT count(*) FROM dead_letters") == 0
    bodies = await delivery.value("SELECT array_agg(body ORDER BY command_id) FROM commands")
    assert bodies == [(behind.value or b""), again.value]


async def test_the_next_due_commands_are_found_by_an_index_among_a_great_many(delivery: DeliveryHarness):
    await delivery.connection.execute("""
        INSERT INTO commands (command_id, partition, order_id, payment_id, sequence, operation, connector, value, topic,
            source_partition, "offset", body, headers, "timestamp", due_at, taken_at, turn)
        SELECT 'c' || n, n % 4, 'o' || n, 'p' || n / 2, 1 + n % 2, 'settle', 'c' || n % 3, 1, 't', 0, n, '', '',
            now(), now() + n * interval '1 ms', now(), n % 2 = 0
        FROM generate_series(0, 20000) AS n""")
    await delivery.connection.execute("ANALYZE commands")

    async with asyncio.timeout(10):
        plan = await _plan(delivery.connection)

    assert "commands_to_send" in plan
    assert "Sort" not in plan


async def _plan(connection: asyncpg.Connection) -> str:
    from worker.postgres.queries import load

    query = load("worker.delivery")["next_due"]
    for place, literal in enumerate(("'c1'", "'{0,1,2,3}'", "now()", "''", "100"), 1):
        query = query.replace(f"${place}", literal)
    return "\n".join(row[0] for row in await connection.fetch("EXPLAIN " + query))


async def test_results_of_attempts_are_booked_on_the_page_of_the_attempt(delivery: DeliveryHarness):
    """HOT updates: the index gets no second entry for an attempt, however many there are."""
    ids = [f"c{number:04}" for number in range(500)]
    for command_id in ids:
        delivery.send(command_id)
    delivery.connectors(other="")
    delivery.handler.reload()
    await delivery.cycle()
    store = Store(delivery.connection)
    reply = "an answer of a usual length, as connectors give it".ljust(180, ".")
    for start in range(0, len(ids), 50):
        some = ids[start : start + 50]
        await delivery.connection.execute(
            "INSERT INTO attempts (command_id, attempt, epoch, begun_at) "
            "SELECT id, 1, 1, now() FROM unnest($1::text[]) AS id",
            some,
        )
        await store.update([], [EndedAttempt(one, 1, delivery.now_ms, "succeeded", 200, "done", reply) for one in some])

    await delivery.connection.execute("SELECT pg_stat_force_next_flush()")
    [(updates, hot)] = await delivery.rows(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = 'delivery.attempts'::regclass"
    )
    assert updates == len(ids)
    assert hot > 0.8 * updates
