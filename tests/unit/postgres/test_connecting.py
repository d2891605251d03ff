"""What differs between the versions of PostgreSQL that are still maintained."""

from worker.postgres.connecting import set_role_privilege


def test_whoever_may_take_a_role_is_asked_for_in_the_words_of_the_server_that_is_there():
    assert [set_role_privilege(major) for major in (15, 16, 18)] == ["MEMBER", "SET", "SET"]
