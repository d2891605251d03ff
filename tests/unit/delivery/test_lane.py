"""A connector in trouble is paused, probed by one command, and resumed slowly (R34, R36)."""

from collections.abc import Iterator

import pytest
import structlog
from msgspec.structs import replace

from worker import telemetry
from worker.connector.answers import Answer
from worker.connector.file import Connector
from worker.delivery.condition import REPLIES_FOR_ONE_MORE
from worker.delivery.lane import Lane
from worker.delivery.window import NOTHING

ACME = Connector(
    name="acme", url="http://a", protocol="ppp", mode="PARTIAL", max_in_flight=8, probe_seconds=60, breaker_failures=3,
    breaker_seconds=30, retry_seconds=(1.0,),
)  # fmt: skip
DONE = Answer("succeeded", "http_200", "done", 1, "s1")
DECLINED = Answer("declined", "51", "not enough money")
REFUSED = Answer("stopped", "http_403", "who are you?")
AWAY = Answer("not_sent", "connect", "nobody there")
SILENT = Answer("unknown", "timeout", "no answer")
ERROR = Answer("unknown", "timeout", "the connector's own word for it")
BUSY = Answer("busy", "http_429", "later", hold_seconds=5)
BUSY_A_SECOND = replace(BUSY, hold_seconds=1)
MANY = 100


@pytest.fixture(autouse=True)
def _clear_alerts() -> Iterator[None]:
    yield
    for alert in telemetry.lasting_alerts():
        telemetry.clear_alert(alert["code"], alert["connector"])


def lane_with(commands: int = MANY, connector: Connector = ACME) -> Lane:
    lane = Lane("acme")
    lane.set_connector(connector)
    lane.window.refill(NOTHING, [(0, f"c{number:03}") for number in range(commands)], commands + 1)
    return lane


def end(lane: Lane, answer: Answer, *ids: str, now_ms: int = 0, took_ms: float = 0.0) -> None:
    for command_id in ids:
        lane.ended(command_id, answer, ACME, now_ms, took_ms, replied=answer not in (AWAY, SILENT))


def test_no_more_commands_are_in_flight_than_the_connector_allows():
    lane = lane_with()

    sent = lane.take_ready(0, MANY)

    assert len(sent) == ACME.max_in_flight
    assert lane.take_ready(0, MANY) == []
    assert lane.next_due_ms() is None
    end(lane, DONE, sent[0])
    assert len(lane.take_ready(0, MANY)) == 1


def active_alerts() -> list[str]:
    return [alert["code"] for alert in telemetry.lasting_alerts()]


@pytest.mark.parametrize("answer", [ERROR, BUSY])
def test_ten_answers_without_a_definite_one_raise_an_alert_until_a_definite_answer(answer: Answer):
    lane = lane_with()
    for number in range(9):
        end(lane, answer, *lane.take_ready(number * 10_000, 1), now_ms=number * 10_000)
    assert active_alerts() == []

    end(lane, answer, *lane.take_ready(100_000, 1), now_ms=100_000)
    assert active_alerts() == ["no_definite_answer"]

    end(lane, DECLINED, *lane.take_ready(110_000, 1), now_ms=110_000)
    assert active_alerts() == []


def test_five_minutes_without_a_definite_answer_raise_the_alert():
    lane = lane_with()
    end(lane, ERROR, *lane.take_ready(0, 1), now_ms=0)
    end(lane, ERROR, *lane.take_ready(299_000, 1), now_ms=299_000)
    assert active_alerts() == []

    end(lane, ERROR, *lane.take_ready(300_000, 1), now_ms=300_000)

    assert active_alerts() == ["no_definite_answer"]


def test_the_alert_outlasts_an_open_breaker_until_a_definite_answer():
    lane = lane_with()
    for _ in range(10):
        end(lane, ERROR, *lane.take_ready(0, 1))
    end(lane, AWAY, *lane.take_ready(0, 3))
    assert sorted(active_alerts()) == ["breaker_open", "no_definite_answer"]

    end(lane, ERROR, *lane.take_ready(30_000, 1), now_ms=30_000)
    assert active_alerts() == ["no_definite_answer"]

    lane.set_connector(None)
    lane.window.forget()
    lane.update_alerts()
    assert active_alerts() == []


def test_the_first_failure_of_a_connector_is_logged_once_a_minute():
    lane = lane_with()
    with structlog.testing.capture_logs() as lines:
        for now_ms in range(0, 120_000, 30_000):
            end(lane, AWAY, *lane.take_ready(now_ms, 2), now_ms=now_ms)
            end(lane, DONE, *lane.take_ready(now_ms, 1), now_ms=now_ms)

    warnings = [line for line in lines if line["log_level"] == "warning"]
    assert [(line["connector"], line["why"]) for line in warnings] == 2 * [("acme", "nobody there (connect)")], (
        "one a minute"
    )


@pytest.mark.parametrize("owned", [[12], [6, 6], [4, 4, 4], [5, 7], [1, 11], [3, 3, 3, 3]])
def test_the_limits_of_a_connector_hold_for_all_workers_together(owned: list[int]):
    lanes = [lane_with(connector=replace(ACME, max_in_flight=10, max_per_second=100.0)) for _ in owned]
    for lane, partitions in zip(lanes, owned, strict=True):
        lane.share = partitions / 12

    first = [(lane, lane.take_ready(0, MANY)) for lane in lanes]
    assert sum(len(ids) for _, ids in first) <= 10 + sum(partitions * 10 < 12 for partitions in owned)
    for lane, ids in first:
        end(lane, DONE, *ids)
    sent = 0
    for now_ms in range(10_000, 15_000, 7):
        for lane in lanes:
            for command_id in lane.take_ready(now_ms, MANY):
                end(lane, DONE, command_id, now_ms=now_ms)
                lane.window.enter((now_ms, command_id))
                sent += 1
    assert 480 <= sent <= 505 + 5 * len(owned)


def test_only_the_refused_command_probes_the_connector():
    lane = lane_with()
    first, second, *others = lane.take_ready(0, MANY)

    end(lane, REFUSED, second, now_ms=1_000)
    end(lane, DONE, *others, now_ms=1_500)  # sent before the refusal, so they prove nothing
    end(lane, REFUSED, first, now_ms=2_000)

    assert lane.take_ready(60_999, MANY) == []
    assert lane.next_due_ms() == 61_000
    assert lane.take_ready(61_000, MANY) == [second]
    assert lane.take_ready(61_000, MANY) == []
    assert lane.next_due_ms() is None
    end(lane, REFUSED, second, now_ms=61_100)
    assert lane.next_due_ms() == 121_100


def test_sighup_probes_at_once_and_any_other_answer_resumes_the_connector_slowly():
    lane = lane_with()
    ids = lane.take_ready(0, MANY)
    end(lane, REFUSED, *ids)

    lane.condition.ask_now()
    assert lane.take_ready(1, MANY) == [ids[0]]
    end(lane, ERROR, ids[0], now_ms=2)

    assert lane.condition.state == "healthy"
    rounds = []
    for now_ms in (3, 4, 5, 6):
        sent = lane.take_ready(now_ms, MANY)
        rounds.append(len(sent))
        end(lane, DONE, *sent, now_ms=now_ms)
    assert rounds == [1, 2, 4, 8]


def test_another_command_probes_when_the_refused_one_is_gone():
    lane = lane_with()
    ids = lane.take_ready(0, MANY)
    end(lane, REFUSED, *ids)

    (gone,) = lane.take_ready(60_000, MANY)
    lane.give_back(gone)

    (other,) = lane.take_ready(60_000, MANY)
    assert other not in ids
    assert lane.in_flight == 1


@pytest.mark.parametrize("answer", [AWAY, SILENT])
def test_after_consecutive_failures_the_breaker_opens_and_one_command_probes(answer: Answer):
    lane = lane_with()
    sent = lane.take_ready(0, MANY)

    end(lane, answer, *sent[:3], now_ms=100)

    assert lane.take_ready(30_099, MANY) == []
    (probe,) = lane.take_ready(30_100, MANY)
    assert lane.take_ready(30_100, MANY) == []
    end(lane, answer, probe, now_ms=30_200)
    assert lane.next_due_ms() == 60_200
    (probe,) = lane.take_ready(60_200, MANY)
    end(lane, DONE, probe, now_ms=60_300)
    assert lane.condition.state == "healthy"


def test_an_error_response_does_not_open_the_breaker():
    lane = lane_with()

    end(lane, ERROR, *lane.take_ready(0, MANY))

    assert len(lane.take_ready(1, MANY)) == ACME.max_in_flight


def test_a_busy_connector_is_paused_as_long_as_it_asks_and_then_probed_by_one_command():
    lane = lane_with()
    first, *others = lane.take_ready(0, MANY)

    end(lane, BUSY, first, now_ms=1_000)
    end(lane, DONE, *others[:-1], now_ms=1_001)
    end(lane, BUSY, others[-1], now_ms=1_002)

    assert lane.take_ready(6_001, MANY) == []
    assert len(lane.take_ready(6_002, MANY)) == 1


@pytest.mark.parametrize("hold_seconds", [None, 0.0])
def test_a_busy_connector_without_a_retry_time_is_paused_for_the_first_retry_interval(hold_seconds: float | None):
    lane = lane_with()
    first, *others = lane.take_ready(0, MANY)

    end(lane, DONE, *others)
    end(lane, replace(BUSY, hold_seconds=hold_seconds), first, now_ms=1_000)

    assert lane.take_ready(1_999, MANY) == []
    assert len(lane.take_ready(2_000, MANY)) == 1


def test_after_it_was_busy_again_a_connector_is_soon_sent_half_as_many_at_once_and_then_seldom_more():
    lane = busy_at(7)

    assert most_at_once(lane, replies=10) == 3
    assert most_at_once(lane, replies=REPLIES_FOR_ONE_MORE) == 4


def test_commands_that_were_too_many_together_count_once():
    lane = lane_with()
    first, *others = lane.take_ready(0, MANY)

    end(lane, DONE, *others[:-1])
    end(lane, BUSY, others[-1], first, now_ms=1_000)

    assert most_at_once(lane, replies=10) == ACME.max_in_flight


def test_a_changed_connectors_file_lets_a_busy_connector_be_sent_as_many_at_once_as_before():
    lane = busy_at(7)

    lane.set_connector(replace(ACME, max_in_flight=6))

    assert most_at_once(lane, replies=10) == 6


@pytest.mark.parametrize("per_second", [2, 20, 50])
@pytest.mark.parametrize("took_ms", [5, 60])
def test_a_connector_that_refuses_each_command_that_comes_early_is_sent_two_fifths_of_its_rate_at_least(
    per_second: int, took_ms: int
):
    accepted, refused = sent_evenly(lane_with(10_000), per_second, took_ms, seconds=120)

    assert accepted > 120 * per_second * 2 / 5
    assert refused < 120 / 2


def sent_evenly(lane: Lane, per_second: int, took_ms: int, seconds: int) -> tuple[int, int]:
    """How many commands a connector accepts and refuses that takes one each so often, and not a moment earlier."""
    free_ms, fates = 0.0, {DONE: 0, BUSY_A_SECOND: 0}
    under_way: list[tuple[int, Answer, str]] = []
    for now_ms in range(0, 1_000 * seconds, 3):  # cycles
        for ended_ms, answer, command_id in [one for one in under_way if one[0] <= now_ms]:
            under_way.remove((ended_ms, answer, command_id))
            end(lane, answer, command_id, now_ms=ended_ms, took_ms=took_ms)
        for command_id in lane.take_ready(now_ms, MANY):
            answer = DONE if now_ms >= free_ms else BUSY_A_SECOND
            fates[answer] += 1
            if answer is DONE:
                free_ms = now_ms + 1_000 / per_second
            under_way.append((now_ms + took_ms, answer, command_id))
    return fates[DONE], fates[BUSY_A_SECOND]


def test_a_connector_that_was_busy_for_an_hour_is_soon_sent_as_much_as_before():
    lane = busy_at(7)
    for _ in range(720):
        now_ms = lane.condition.not_before_ms
        end(lane, BUSY, *lane.take_ready(now_ms, MANY), now_ms=now_ms)

    assert most_at_once(lane, replies=10) == 3


def test_what_was_sent_before_a_pause_is_no_reason_to_send_more_at_once_after_it():
    lane = lane_with()
    first, *others = lane.take_ready(0, MANY)

    end(lane, BUSY, first, now_ms=1_000)
    end(lane, DONE, *others, now_ms=1_001)

    assert len(lane.take_ready(6_000, MANY)) == 1


def test_a_slow_answer_makes_no_gap_between_commands_longer_than_a_second():
    lane = lane_with()
    lane.condition.width = lane.condition.bearable = 0.1
    end(lane, DONE, *lane.take_ready(0, 1), now_ms=20_000, took_ms=20_000)

    end(lane, DONE, *lane.take_ready(20_000, 1), now_ms=20_000)

    assert lane.next_due_ms() == 21_000


def busy_at(width: int) -> Lane:
    """A lane whose connector became busy for the second time, with so many commands at once."""
    lane = lane_with(10 * MANY)
    end(lane, BUSY, *lane.take_ready(0, MANY))
    resumed_ms = lane.condition.not_before_ms
    for _ in range(width - 1):
        end(lane, DONE, *lane.take_ready(resumed_ms, 1), now_ms=resumed_ms)
    end(lane, BUSY, *lane.take_ready(resumed_ms, MANY), now_ms=resumed_ms)
    return lane


def most_at_once(lane: Lane, replies: int) -> int:
    """How many commands are in flight together after so many more replies, one after another."""
    now_ms = lane.condition.not_before_ms
    for _ in range(replies):
        end(lane, DONE, *lane.take_ready(now_ms, 1), now_ms=now_ms)
    taken = lane.take_ready(now_ms, MANY)
    for command_id in taken:
        lane.give_back(command_id)
    return len(taken)


def test_a_connector_that_the_file_does_not_name_receives_nothing():
    lane = lane_with()

    lane.set_connector(None)

    assert lane.take_ready(0, MANY) == []
    assert lane.next_due_ms() is None


@pytest.mark.parametrize(("answer", "alert"), [(AWAY, "breaker_open"), (REFUSED, "connector_stopped")])
def test_a_connector_removed_from_the_file_has_only_the_alert_unknown_connector(answer: Answer, alert: str):
    def updated_alerts() -> list[str]:
        lane.update_alerts()
        return active_alerts()

    lane = lane_with()
    *sent, late = lane.take_ready(0, 4)
    end(lane, answer, *sent)
    assert updated_alerts() == [alert]

    lane.set_connector(None)
    end(lane, answer, late)
    assert updated_alerts() == ["unknown_connector"]

    lane.set_connector(ACME)
    [first] = lane.take_ready(0, MANY)
    end(lane, answer, first)
    assert updated_alerts() == [alert]
