"""Errors of PostgreSQL and of its driver are reported in one sentence, to operators and in the log."""

import socket
import ssl

import asyncpg
import pytest

from worker.console.error_messages import message_and_exit_code
from worker.postgres.refusals import describe_postgres_error
from worker.stream.faults import FencedError, UncertainCommitError
from worker.stream.session_health import SessionHealth

# The driver's error depends on how far it had read when the session ended.
ENDED = [
    asyncpg.AdminShutdownError("terminating connection due to administrator command"),
    asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
    asyncpg.InterfaceError("connection is closed"),
    asyncpg.InternalClientError("cannot switch to state 11; another operation (2) is in progress"),
    asyncpg.InternalClientError("got result for unknown protocol state 3"),
    asyncpg.InterfaceError("cannot perform operation: another operation is in progress"),
    asyncpg.InterfaceError("cannot call Transaction.__aexit__(): the underlying connection is closed"),
]
OVER = "PostgreSQL, or the network, closed the connection"


@pytest.fixture(autouse=True)
def servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9")
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:secret@127.0.0.1:9/books")


def reported(problem: Exception) -> tuple[str, int]:
    """The sentence and the exit code with which a command ends."""
    known = message_and_exit_code(problem)
    assert known is not None
    return known


@pytest.mark.parametrize("problem", ENDED, ids=lambda value: type(value).__name__)
def test_a_session_that_the_server_ended_is_reported_to_the_operator_in_one_sentence(problem: Exception):
    sentence, code = reported(problem)

    assert (sentence.startswith("PostgreSQL at 127.0.0.1:9/books"), code) == (True, 1)
    assert "secret" not in sentence


@pytest.mark.parametrize("problem", ENDED[1:], ids=str)
def test_every_form_of_a_closed_connection_is_logged_with_the_same_sentence(problem: Exception):
    """The driver's words do not say what to do, and other words each time would be a line of the log each time."""
    assert describe_postgres_error(problem) == OVER
    assert reported(problem)[0].endswith("or the network, closed the connection")


UNANSWERED = UncertainCommitError(str(ENDED[1]))
UNANSWERED.__cause__ = ENDED[1]


@pytest.mark.parametrize(("problem", "message"), [
    (ENDED[0], "PostgreSQL ended the session (terminating connection due to administrator command)"),
    (TimeoutError(), "PostgreSQL did not answer in time"),
    (ConnectionRefusedError(111, "refused"),
     "PostgreSQL cannot be reached ([Errno 111] refused): is it running, and is DATABASE_URL right?"),
    (socket.gaierror(-2, "unknown"),
     "PostgreSQL cannot be reached, its host name is not known ([Errno -2] unknown): is DATABASE_URL right?"),
    (asyncpg.TooManyConnectionsError("sorry, too many clients already"),
     "PostgreSQL has no session left for us (sorry, too many clients already): end others, or raise max_connections"),
    (FencedError("this member was declared dead"), "this member was declared dead"),
    (UNANSWERED, f"{OVER}, before it said whether it had committed"),
], ids=lambda value: type(value).__name__)  # fmt: skip
def test_a_worker_reports_a_lost_database_in_one_sentence(problem: Exception, message: str):
    health = SessionHealth()

    health.session_failed(problem)

    assert health.problem == message


# Errors of standbys and of a failover, and a word of the advice.
STANDBY = [
    (asyncpg.ReadOnlySQLTransactionError("cannot execute INSERT in a read-only transaction"), "target_session_attrs"),
    (asyncpg.SerializationError("canceling statement due to conflict with recovery"), "max_standby_streaming_delay"),
    (asyncpg.exceptions.TargetServerAttributeNotMatched("None of the hosts match"), "target_session_attrs"),
]


@pytest.mark.parametrize(("problem", "advice"), STANDBY, ids=lambda value: type(value).__name__)
def test_an_error_of_a_standby_is_reported_with_the_setting_that_helps(problem: Exception, advice: str):
    sentence, code = reported(problem)

    assert (advice in sentence, code) == (True, 1)


def test_the_error_that_ended_a_session_is_reported_and_not_the_one_that_followed():
    try:
        try:
            raise asyncpg.TransactionTimeoutError("terminating connection due to transaction timeout")
        finally:
            raise asyncpg.InterfaceError("cannot call Transaction.__aexit__(): the underlying connection is closed")
    except asyncpg.InterfaceError as problem:
        sentence, _ = reported(problem)

    assert "ended the session (terminating connection due to transaction timeout)" in sentence


# The driver's errors where the two ends do not agree on encryption; in none of them the server is unreachable.
UNENCRYPTED = [
    ConnectionError('PostgreSQL server at "127.0.0.1:9" rejected SSL upgrade'),
    ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed"),
    FileNotFoundError(2, "No such file or directory"),
]


@pytest.mark.parametrize("problem", UNENCRYPTED, ids=lambda value: type(value).__name__)
def test_a_failed_encryption_is_not_reported_as_an_unreachable_database(problem: Exception):
    sentence, code = reported(problem)

    assert ("sslrootcert" in sentence, "does not answer" in sentence, code) == (True, False, 1)
