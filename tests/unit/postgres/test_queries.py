"""SQL is in files, and each statement has a name and a line that says what it promises."""

from pathlib import Path

import pytest

from worker.postgres.queries import all_queries, load, parse


def test_a_query_has_a_name_a_promise_and_a_statement():
    [first, second] = parse(
        "-- name: one\n-- Promises a row.\nSELECT 1;\n\n-- name: two\n-- More.\nSELECT\n    2", "f.sql"
    )

    assert (first.name, first.promise, first.sql) == ("one", "Promises a row.", "SELECT 1")
    assert second.sql == "SELECT\n    2"


def test_a_query_without_a_promise_is_refused():
    with pytest.raises(ValueError, match="needs one line that says what it promises"):
        parse("-- name: one\nSELECT 1;", "f.sql")


def test_the_queries_of_a_package_are_loaded_by_name():
    assert load("worker.stream")["leave"].startswith("DELETE FROM members")


def test_the_queries_of_all_packages_are_found(project: Path):
    files = {path.relative_to(project).as_posix() for path in project.glob("worker/**/*.sql")}

    assert files == {query.file for query in all_queries()}
