"""A session that PostgreSQL ended in the middle of a command is no defect of ours, and is told in one sentence."""

import asyncpg
import pytest

from worker.console.problems import sentence_for

# What the driver raises depends on how far it had read when the session ended.
ENDED = [
    asyncpg.AdminShutdownError("terminating connection due to administrator command"),
    asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
    asyncpg.InterfaceError("connection is closed"),
    asyncpg.InternalClientError("cannot switch to state 11; another operation (2) is in progress"),
]


@pytest.mark.parametrize("problem", ENDED, ids=lambda one: type(one).__name__)
def test_a_session_that_the_server_ended_is_one_sentence_for_whoever_decides(
    problem: Exception, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9")
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:secret@127.0.0.1:9/books")

    said = sentence_for(problem)

    assert said is not None
    sentence, code = said
    assert (sentence.startswith("PostgreSQL at 127.0.0.1:9/books"), code) == (True, 1)
    assert "secret" not in sentence


@pytest.mark.parametrize(("problem", "says"), [
    (asyncpg.SerializationError("canceling statement due to conflict with recovery"), "max_standby_streaming_delay"),
    (asyncpg.ReadOnlySQLTransactionError("cannot execute INSERT in a read-only transaction"), "name the primary"),
    (asyncpg.InterfaceError("cannot call Transaction.__aexit__(): the underlying connection is closed"), "try again"),
], ids=lambda one: type(one).__name__ if isinstance(one, Exception) else "")  # fmt: skip
def test_whoever_looks_at_a_standby_is_told_what_to_do_when_it_gives_up(
    problem: Exception, says: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9")
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:secret@127.0.0.1:9/books")

    said = sentence_for(problem)

    assert said is not None
    assert says in said[0]
