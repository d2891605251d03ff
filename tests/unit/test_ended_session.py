"""A session that PostgreSQL ended in the middle of a command is no defect of ours, and is told in one sentence."""

import ssl

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


@pytest.fixture(autouse=True)
def servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9")
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:secret@127.0.0.1:9/books")


@pytest.mark.parametrize("problem", ENDED, ids=lambda one: type(one).__name__)
def test_a_session_that_the_server_ended_is_one_sentence_for_whoever_decides(problem: Exception):
    said = sentence_for(problem)

    assert said is not None
    sentence, code = said
    assert (sentence.startswith("PostgreSQL at 127.0.0.1:9/books"), code) == (True, 1)
    assert "secret" not in sentence


# What servers that stand in for one another answer, and a word of what a person is told to do.
STANDING_IN = [
    (asyncpg.ReadOnlySQLTransactionError("cannot execute INSERT in a read-only transaction"), "target_session_attrs"),
    (asyncpg.SerializationError("canceling statement due to conflict with recovery"), "max_standby_streaming_delay"),
    (asyncpg.exceptions.TargetServerAttributeNotMatched("None of the hosts match"), "when one is"),
]


@pytest.mark.parametrize(("problem", "advice"), STANDING_IN, ids=lambda one: type(one).__name__)
def test_who_asks_a_standby_for_what_it_cannot_do_is_told_what_can(problem: Exception, advice: str):
    said = sentence_for(problem)

    assert said is not None
    sentence, code = said
    assert (advice in sentence, code) == (True, 1)


def test_the_reason_why_a_session_ended_is_told_and_not_what_it_could_not_hear_any_more():
    try:
        try:
            raise asyncpg.TransactionTimeoutError("terminating connection due to transaction timeout")
        finally:
            raise asyncpg.InterfaceError("cannot call Transaction.__aexit__(): the underlying connection is closed")
    except asyncpg.InterfaceError as problem:
        said = sentence_for(problem)

    assert said is not None
    assert "ended the session (terminating connection due to transaction timeout): try again" in said[0]


# What the driver raises where the two ends do not agree on encryption; none of it is a server that does not answer.
UNENCRYPTED = [
    ConnectionError('PostgreSQL server at "127.0.0.1:9" rejected SSL upgrade'),
    ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed"),
    FileNotFoundError(2, "No such file or directory"),
]


@pytest.mark.parametrize("problem", UNENCRYPTED, ids=lambda one: type(one).__name__)
def test_a_database_with_which_no_encryption_comes_about_is_not_called_away(problem: Exception):
    said = sentence_for(problem)

    assert said is not None
    sentence, code = said
    assert ("sslrootcert" in sentence, "does not answer" in sentence, code) == (True, False, 1)
