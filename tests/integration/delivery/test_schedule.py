"""The schedule of commands: sequence within a payment (I6), retries, leases, restarts and connector changes."""

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


async def test_commands_of_a_payment_are_sent_one_at_a_time_in_sequence(delivery: DeliveryHarness):
    delivery.send("b", 2, "p")
    await delivery.cycle()
    assert delivery.requested() == []

    delivery.send("a", 1, "p")
    delivery.send("c", 3, "p")
    await delivery.run_until(("a", "succeeded"), ("b", "succeeded"), ("c", "succeeded"))

    assert delivery.requested() == ["a", "b", "c"]
    assert delivery.outcomes() == [("succeeded", "a"), ("succeeded", "b"), ("succeeded", "c")]


@pytest.mark.parametrize(("word", "state", "goes_on"), [
    ("decline", "declined", True), ("manual", "manual", True), ("echo", "suspect", False)])  # fmt: skip
async def test_a_closed_command_releases_the_next_one_and_a_suspect_one_holds_it(
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


async def test_memory_holds_a_bounded_window_of_the_commands_in_the_table(
    delivery: DeliveryHarness, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(windows, "COMMANDS_MAX", 20)
    monkeypatch.setattr(windows, "COMMANDS_LOW", 10)
    delivery.connectors()
    delivery.handler.reload()
    ids = [f"c{number:03}" for number in range(200)]
    for command_id in ids:
        delivery.send(command_id, 1, f"p{command_id}")
        if command_id.endswith("0"):
            await delivery.cycle()
    delivery.send("successor", 2, "pc000")
    await delivery.cycle()
    lane = delivery.lane
    assert len(lane.window) <= 40

    delivery.connectors(acme="max_in_flight = 7")
    delivery.handler.reload()
    while len(delivery.effects()) < len(ids) + 1:
        await delivery.run_once()
        assert len(lane.window) <= 40
        assert lane.in_flight <= 7

    await delivery.run_until(*((command_id, "succeeded") for command_id in ids), ("successor", "succeeded"))
    assert sorted(delivery.requested()) == sorted([*ids, "successor"])


async def test_a_restarted_worker_resumes_the_commands_in_the_table(delivery: DeliveryHarness):
    delivery.plan("error", "error")
    delivery.send("a", 1, "p")
    delivery.send("b", 2, "p")
    await delivery.cycle()
    await delivery.handler.release(frozenset(delivery.epochs))
    await delivery.cycle()

    delivery.start()
    await delivery.take_partitions()
    await delivery.run_until(("a", "succeeded"), ("b", "succeeded"))

    assert delivery.requested() == ["a", "a", "a", "b"]
    assert await delivery.value("SELECT attempts FROM commands WHERE command_id = 'a'") == 3


async def test_an_attempt_without_a_result_is_retried_after_the_former_lease_and_the_timeout(
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
    assert delivery.requested() == ["a", "a"]
    assert delivery.effects() == ["a"]


async def test_a_result_counts_only_in_the_epoch_that_began_its_attempt(delivery: DeliveryHarness):
    delivery.send("a")
    await delivery.cycle()
    await delivery.take_partitions()  # lost and taken again while the request is in flight

    await delivery.run_until(("a", "succeeded"))

    assert await delivery.value("SELECT uncertain FROM commands")
    assert delivery.outcomes() == [("succeeded", "a")]
    assert delivery.requested() == ["a", "a"]


async def test_a_rolled_back_cycle_sends_nothing_and_loses_nothing(delivery: DeliveryHarness):
    delivery.send("a", 1, "p")
    delivery.send("b", 2, "p")
    await delivery.roll_back()
    await asyncio.sleep(0)
    assert delivery.requested() == []

    await delivery.cycle()
    await delivery.until_result()
    await delivery.roll_back()
    await delivery.run_until(("a", "succeeded"), ("b", "succeeded"))

    assert delivery.requested() == ["a", "b"]
    assert delivery.outcomes() == [("succeeded", "a"), ("succeeded", "b")]
    assert delivery.lane.in_flight == 0


async def test_every_command_is_counted_once_however_often_its_cycle_is_rolled_back(delivery: DeliveryHarness):
    fates = ("applied", "duplicate", "dead_lettered")
    before = [facts(names.COMMANDS, fate) for fate in fates]
    delivery.send("a")
    await delivery.cycle()
    for value in (100, 100, 999):  # a new command, its duplicate, and a conflicting one
        delivery.send("b", value=value)
    delivery.send("a")
    delivery.send("c", operation="shred")

    for _ in range(2):
        await delivery.roll_back()
    await delivery.cycle()
    await delivery.cycle()

    assert [facts(names.COMMANDS, fate) - was for fate, was in zip(fates, before, strict=True)] == [2, 2, 2]


async def test_the_commit_of_another_cycle_sends_no_rolled_back_command(delivery: DeliveryHarness):
    delivery.send("a")
    await delivery.roll_back()

    # As after a record that the database refuses: its dead letter is committed without the handler.
    await delivery.handler.committed(Cycle(delivery.connection, [], delivery.epochs, 0, PARTITIONS))
    await delivery.handler.release(frozenset(delivery.epochs))  # waits for all calls in flight
    assert delivery.requested() == []

    await delivery.take_partitions()
    await delivery.run_until(("a", "succeeded"))
    assert delivery.requested() == ["a"]


async def test_commands_of_released_partitions_are_not_sent(delivery: DeliveryHarness):
    delivery.send("a")
    await delivery.handler.release(frozenset(delivery.epochs))
    await delivery.cycle()

    assert await delivery.value("SELECT attempts FROM commands") == 0
    assert delivery.requested() == []
    delivery.start()
    await delivery.take_partitions()
    await delivery.run_until(("a", "succeeded"))


async def test_an_attempt_past_the_lease_counts_as_not_sent(delivery: DeliveryHarness):
    delivery.send("a")
    delivery.control.lease_ends = 0.0
    await delivery.cycle()
    await delivery.cycle()

    assert delivery.requested() == []
    row = await delivery.connection.fetchrow("SELECT fate, ended_at FROM attempts")
    assert row["fate"] == "not_sent"
    assert await delivery.value("SELECT uncertain FROM commands") is False


async def test_an_attempt_whose_lease_ends_before_the_first_byte_counts_as_not_sent(
    delivery: DeliveryHarness,
):
    delivery.send("a")
    await delivery.cycle()
    delivery.control.lease_ends = 0.0
    await delivery.until_result()
    await delivery.cycle()

    assert delivery.requested() == []
    assert await delivery.value("SELECT fate FROM attempts") == "not_sent"
    assert await delivery.value("SELECT uncertain FROM commands") is False
    delivery.control.lease_ends = lease_time() + 3600
    await delivery.run_until(("a", "succeeded"))
    assert delivery.requested() == ["a"]


async def test_a_worker_that_loses_its_partitions_before_the_first_byte_sends_nothing(
    delivery: DeliveryHarness,
):
    delivery.send("a")
    await delivery.cycle()
    delivery.control.epochs = {}
    delivery.handler.dropped()
    await until(lambda: delivery.lane.in_flight == 0, PATIENCE_SECONDS)

    assert delivery.requested() == []
    assert not delivery.control.cycle_wanted, "no result is booked"
    await delivery.take_partitions()
    await delivery.run_until(("a", "succeeded"))
    assert await delivery.value("SELECT uncertain FROM commands"), "no worker knows whether it was sent"


async def test_a_call_in_flight_at_a_release_is_completed_and_booked(delivery: DeliveryHarness):
    delivery.acme.behaviour = Behaviour(latency_ms=200, currency="USD")
    delivery.send("a")
    await delivery.cycle()

    await delivery.handler.release(frozenset(delivery.epochs))
    await delivery.cycle()

    assert await delivery.value("SELECT state FROM commands") == "succeeded"
    assert delivery.outcomes() == [("succeeded", "a")]


async def test_the_horizon_passes_while_the_connector_is_stopped(delivery: DeliveryHarness):
    delivery.connectors(acme="horizon_hours = 0.0003\nprobe_seconds = 3600")
    delivery.handler.reload()
    delivery.plan("error", "forbidden")
    delivery.send("a")

    await delivery.run_until(("a", "unknown"))

    assert delivery.requested() == ["a", "a"]
    assert delivery.outcomes() == [("unknown", "a")]


async def test_the_horizon_passes_while_the_limit_of_the_connector_lets_nothing_be_sent(delivery: DeliveryHarness):
    delivery.connectors(acme="horizon_hours = 0.0003\nmax_per_second = 0.0005")
    delivery.handler.reload()
    delivery.plan("error")
    delivery.send("a")

    await delivery.run_until(("a", "unknown"))

    assert delivery.requested() == ["a"]
    assert delivery.outcomes() == [("unknown", "a")]


async def test_commands_that_are_not_due_keep_no_other_from_its_horizon(
    delivery: DeliveryHarness, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("worker.delivery.store.GIVEN_UP_MAX", 1)
    delivery.connectors(acme="probe_seconds = 3600")
    delivery.handler.reload()
    delivery.plan("forbidden")
    delivery.send("refused")
    await delivery.cycle()
    await delivery.until_result()
    delivery.send("not due")
    delivery.send("due")
    await delivery.cycle()

    for command_id, hours_ago, wait in (("not due", 26, "1 h"), ("due", 25, "0")):
        await delivery.connection.execute(
            "UPDATE commands SET uncertain = true, attempts = 1, first_attempt_at = now() - $2 * interval '1 h',"
            " due_at = now() + $3::text::interval WHERE command_id = $1",
            command_id, hours_ago, wait,
        )  # fmt: skip
    await delivery.connection.execute("ANALYZE commands")
    await delivery.run_until(("due", "unknown"), ("not due", "waiting"))


async def test_commands_of_a_connector_removed_from_the_file_during_a_cycle_wait(
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
    assert delivery.requested() == ["a"]

    delivery.connectors(acme="")
    delivery.handler.reload()
    await delivery.run_until(("b", "succeeded"))

    assert delivery.requested() == ["a", "b"]


async def test_changed_connector_settings_apply_at_once_despite_old_limits_and_breakers(delivery: DeliveryHarness):
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


async def test_a_connector_missing_from_the_file_is_an_alert_only_while_commands_wait_for_it(
    delivery: DeliveryHarness,
):
    def missing() -> list[str]:
        return [alert["connector"] for alert in telemetry.lasting_alerts() if alert["code"] == "unknown_connector"]

    delivery.send("a")
    await delivery.run_until(("a", "succeeded"))
    delivery.connectors(other="")
    delivery.handler.reload()
    await delivery.cycle()
    assert missing() == []

    delivery.send("b")
    await delivery.cycle()
    assert missing() == ["acme"]

    delivery.connectors(acme="")
    delivery.handler.reload()
    await delivery.run_until(("b", "succeeded"))
    assert missing() == []


async def test_a_command_in_an_envelope_or_behind_a_schema_id_is_sent(delivery: DeliveryHarness):
    within, repeat = delivery.send("within"), delivery.send("within")
    behind = delivery.send("behind")
    data = msgspec.Raw(within.value or b"")
    envelope = {"specversion": "1.0", "id": "1", "source": "a", "type": "command.settle", "data": data}
    delivery.replace(within, value=msgspec.json.encode(envelope), headers=[])
    delivery.replace(behind, value=b"\0\0\0\0\7" + (behind.value or b""))

    await delivery.run_until(("within", "succeeded"), ("behind", "succeeded"))

    assert sorted(delivery.requested()) == ["behind", "within"]
    assert await delivery.value("SELECT count(*) FROM dead_letters") == 0
    bodies = await delivery.value("SELECT array_agg(body ORDER BY command_id) FROM commands")
    assert bodies == [(behind.value or b""), repeat.value]


async def test_due_commands_are_found_through_an_index(delivery: DeliveryHarness):
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


async def test_results_of_attempts_are_hot_updates(delivery: DeliveryHarness):
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
        page = ids[start : start + 50]
        await delivery.connection.execute(
            "INSERT INTO attempts (command_id, attempt, epoch, begun_at) "
            "SELECT id, 1, 1, now() FROM unnest($1::text[]) AS id",
            page,
        )
        await store.update([], [EndedAttempt(id_, 1, delivery.now_ms, "succeeded", 200, "done", reply) for id_ in page])

    await delivery.connection.execute("SELECT pg_stat_force_next_flush()")
    [(updates, hot)] = await delivery.rows(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = 'delivery.attempts'::regclass"
    )
    assert updates == len(ids)
    assert hot > 0.8 * updates
