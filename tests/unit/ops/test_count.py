"""Increments are counted once, also when the topics are read again."""

import msgspec

from worker.ops.count import Count, Increment, add_increments

INCREMENTS = [Increment(0, 5, 1), Increment(1, 2, 1), Increment(0, 6, 10)]


def test_increments_are_not_counted_twice_after_a_kill():
    once = add_increments(Count(), INCREMENTS)

    assert once.number == 12
    assert add_increments(once, INCREMENTS) == once
    assert add_increments(once, [Increment(0, 6, 10), Increment(0, 7, 1)]).number == 13


def test_partitions_are_counted_independently():
    assert add_increments(add_increments(Count(), INCREMENTS), [Increment(1, 3, 1)]) == Count(13, {0: 6, 1: 3})


def test_a_count_is_restored_from_its_changelog():
    count = add_increments(Count(), INCREMENTS)

    assert msgspec.json.decode(msgspec.json.encode(count), type=Count) == count
