"""A starved worker takes smaller bites until it gets through."""

from worker.stream.pace import QUICK_SECONDS, RECORDS_MAX, SLOW_SECONDS, Pace


def test_a_backlog_is_read_in_large_cycles_after_a_few_quick_ones():
    pace = Pace()
    for _ in range(4):
        pace.took(QUICK_SECONDS / 2)

    assert pace.records_max == RECORDS_MAX


def test_a_worker_whose_sessions_are_lost_comes_down_to_one_record():
    pace = Pace()
    for _ in range(20):
        pace.lost()

    assert pace.records_max == 1


def test_slow_cycles_become_smaller_and_ordinary_ones_stay_as_they_are():
    pace = Pace()
    first = pace.records_max

    pace.took((QUICK_SECONDS + SLOW_SECONDS) / 2)
    ordinary = pace.records_max
    pace.took(SLOW_SECONDS * 2)

    assert (ordinary, pace.records_max) == (first, first // 2)
