"""When a command is sent again (R33, R34, R36)."""

import pytest

from worker.connector.answers import Answer
from worker.connector.command import Command
from worker.connector.file import Connector
from worker.delivery.job import Job
from worker.delivery.schedule import HOUR_MS, is_past_horizon, put_off
from worker.delivery.sending import NOT_BEGUN
from worker.kafka import names
from worker.kafka.records import Record

CONNECTOR = Connector(
    name="c", url="http://127.0.0.1:1", protocol="ppp", mode="PARTIAL", retry_seconds=(1.0, 60.0), horizon_hours=1.0
)
DAY_MS = 24 * HOUR_MS
UNKNOWN = Answer("unknown", "timeout", "timeout")


def new_job() -> Job:
    command = Command(
        command_id="c1", request_id="r1", order_id="o1", payment_id="p1", transaction_id="t1", authorization_id="a1",
        connector="c", currency="USD", value=6000, sequence=1,
    )  # fmt: skip
    record = Record(names.COMMANDS, 0, 0, b"o1", b"{}", [], 0)
    return Job(command=command, operation="settle", record=record, partition=0, traceparent=None)


def attempt(job: Job, answer: Answer, now_ms: int) -> Job:
    job.attempts += 1
    job.first_attempt_ms = job.first_attempt_ms or now_ms
    put_off(job, CONNECTOR, answer, now_ms)
    return job


@pytest.mark.parametrize("fate", ["not_sent", "busy", "stopped"])
def test_attempts_that_did_nothing_do_not_count_for_the_horizon_or_the_schedule(fate: str) -> None:
    job = new_job()
    for minute in range(1, 1000):
        attempt(job, Answer(fate, "away", "away"), minute * 60_000)

    attempt(job, UNKNOWN, DAY_MS)

    assert not is_past_horizon(job, CONNECTOR, DAY_MS + HOUR_MS - 1)
    assert is_past_horizon(job, CONNECTOR, DAY_MS + HOUR_MS)
    assert 1_000 <= job.due_ms - DAY_MS <= 1_200


def test_each_unknown_advances_the_schedule_whose_last_interval_repeats_until_the_horizon() -> None:
    job = attempt(attempt(attempt(new_job(), UNKNOWN, 1), UNKNOWN, 2_000), UNKNOWN, 70_000)

    assert 60_000 <= job.due_ms - 70_000 <= 72_000
    assert attempt(job, UNKNOWN, HOUR_MS - 5_000).due_ms == HOUR_MS + 1


def test_an_unknown_command_keeps_its_horizon_while_the_connector_is_unreachable() -> None:
    job = attempt(attempt(new_job(), UNKNOWN, 1), Answer("not_sent", "connect", "connect"), 2_000)

    assert job.first_attempt_ms == 1
    assert is_past_horizon(job, CONNECTOR, HOUR_MS + 1)


def test_a_busy_connector_puts_no_unknown_command_off_beyond_its_horizon() -> None:
    busy = Answer("busy", "http_429", "in an hour", hold_seconds=3_600.0)

    job = attempt(attempt(new_job(), UNKNOWN, 1), busy, HOUR_MS - 60_000)

    assert job.due_ms == HOUR_MS + 1


def test_an_attempt_prevented_by_a_hand_over_is_due_at_once_and_begins_no_horizon() -> None:
    job = attempt(new_job(), NOT_BEGUN, 1)
    assert job.due_ms == 1

    attempt(job, UNKNOWN, DAY_MS)

    assert not is_past_horizon(job, CONNECTOR, DAY_MS + HOUR_MS - 1)
