"""The number of records of a cycle adapts to how long the cycles take."""

from worker.stream.pace import QUICK_SECONDS, RECORDS_MAX, SLOW_SECONDS, Pace


def test_the_cycle_grows_to_its_maximum_after_a_few_quick_cycles():
    pace = Pace()
    for _ in range(4):
        pace.took(QUICK_SECONDS / 2)

    assert pace.records_max == RECORDS_MAX


def test_repeated_session_losses_reduce_the_cycle_to_one_record():
    pace = Pace()
    for _ in range(20):
        pace.lost()

    assert pace.records_max == 1


def test_a_slow_cycle_halves_the_size_and_an_ordinary_one_keeps_it():
    pace = Pace()
    first = pace.records_max

    pace.took((QUICK_SECONDS + SLOW_SECONDS) / 2)
    ordinary = pace.records_max
    pace.took(SLOW_SECONDS * 2)

    assert (ordinary, pace.records_max) == (first, first // 2)
