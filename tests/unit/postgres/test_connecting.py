"""The privilege to set a role has another name in each maintained version of PostgreSQL."""

from worker.postgres.connecting import set_role_privilege


def test_the_privilege_to_set_a_role_is_named_as_the_server_version_names_it():
    assert [set_role_privilege(major) for major in (15, 16, 18)] == ["MEMBER", "SET", "SET"]
