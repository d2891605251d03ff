"""What happened in a minute is counted once, whatever is read again."""

import msgspec

from worker.ops.count import Count, News, counted

THREE = [News(0, 5, 1), News(1, 2, 1), News(0, 6, 10)]


def test_what_was_counted_is_not_counted_again_after_a_kill():
    once = counted(Count(), THREE)

    assert once.number == 12
    assert counted(once, THREE) == once
    assert counted(once, [News(0, 6, 10), News(0, 7, 1)]).number == 13


def test_partitions_know_nothing_of_each_other():
    assert counted(counted(Count(), THREE), [News(1, 3, 1)]) == Count(13, {0: 6, 1: 3})


def test_a_count_comes_back_from_its_changelog_as_it_was():
    count = counted(Count(), THREE)

    assert msgspec.json.decode(msgspec.json.encode(count), type=Count) == count
