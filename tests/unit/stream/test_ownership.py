"""Partitions are divided evenly between the members."""

import pytest

from worker.stream.ownership import fair_share


@pytest.mark.parametrize(("partitions", "members"), [(12, 1), (12, 5), (12, 12), (3, 7), (1, 2), (100, 7)])
def test_fair_shares_add_up_and_differ_by_at_most_one(partitions: int, members: int):
    living = [f"m{n}" for n in range(members)]

    shares = [fair_share(partitions, living, member) for member in living]

    assert sum(shares) == partitions
    assert max(shares) - min(shares) <= 1
    assert shares == sorted(shares, reverse=True)
