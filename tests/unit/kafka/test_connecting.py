"""Errors of Kafka's clients are reported as such and in one sentence, and every client is closed."""

import gc
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    NodeNotReadyError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    UnsupportedSaslMechanismError,
)
from asyncpg import InvalidPasswordError

from worker.console.error_messages import message_and_exit_code
from worker.kafka.connecting import admin_client, consumer
from worker.kafka.refusals import TOPIC_RIGHTS, refusal
from worker.kafka.sink import Sink
from worker.kafka.source import Source
from worker.settings import load
from worker.stream.session_health import SessionHealth

SETTINGS = load({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": "postgresql://127.0.0.1:9/none"})


async def test_a_timeout_of_the_brokers_is_reported_as_a_problem_of_kafka(monkeypatch: pytest.MonkeyPatch):
    async def start_at_once(_: AIOKafkaAdminClient) -> None:
        return None

    monkeypatch.setattr(AIOKafkaAdminClient, "start", start_at_once)
    with pytest.raises(KafkaError) as error:
        async with admin_client(SETTINGS):
            raise TimeoutError

    reported = message_and_exit_code(error.value)
    assert reported is not None
    assert "Kafka" in reported[0]
    assert "PostgreSQL" not in reported[0]


def test_a_missing_topic_is_reported_with_the_command_that_creates_it():
    reported = message_and_exit_code(UnknownTopicOrPartitionError())

    assert reported is not None
    assert reported[0].endswith("lacks a topic of ours: `settlement topics` creates what is missing")


def test_a_broker_that_is_not_ready_is_reported_with_the_bootstrap_servers(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9")
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:9/none")

    reported = message_and_exit_code(NodeNotReadyError("Attempt to send a request to node 7 which is not ready"))

    assert reported == ("Kafka at 127.0.0.1:9 is not ready: a broker that we need cannot be reached", 1)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            SaslAuthenticationFailed(),
            "does not let us in: check KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD, read at the start only",
        ),
        (UnsupportedSaslMechanismError(), "does not offer the login mechanism of KAFKA_SASL_MECHANISM"),
        (
            IllegalSaslStateError(),
            "expects no login at this address: check KAFKA_SECURITY_PROTOCOL and KAFKA_BOOTSTRAP_SERVERS",
        ),
        (ssl.SSLError("self-signed certificate"), "we do not agree on TLS: ('self-signed certificate',)"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_broker_that_refuses_the_connection_is_not_reported_as_unreachable(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch
):
    async def refuse(_: AIOKafkaConnection) -> None:
        raise error

    monkeypatch.setattr(AIOKafkaConnection, "connect", refuse)
    with pytest.raises(KafkaError) as problem:
        async with admin_client(SETTINGS):
            pass

    reported = message_and_exit_code(problem.value)
    assert reported is not None
    assert message in reported[0]


@pytest.mark.parametrize("content", [None, "", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
async def test_unreadable_certificates_are_reported_as_a_problem_of_kafka_with_their_path(
    content: str | None, tmp_path: Path
):
    cafile = tmp_path / "ca.pem"
    settings = replace(SETTINGS, kafka_security_protocol="SSL", kafka_ssl_cafile=cafile)
    if content is not None:
        cafile.write_text(content)
    health = SessionHealth()

    with pytest.raises(KafkaError) as error:
        await Sink(settings).start()
    health.session_failed(error.value)

    assert health.problem is not None
    assert health.problem.startswith("Kafka: ")
    assert f"KAFKA_SSL_CAFILE {cafile} is not a PEM file of certificates that can be read" in health.problem


def test_a_missing_right_is_reported_with_the_topic_or_group_and_the_rights_needed():
    topic, group = TopicAuthorizationFailedError("erp.invoices.v1"), GroupAuthorizationFailedError("settlement-ledger")

    assert refusal(topic) == "does not allow our user the topic erp.invoices.v1: it needs " + TOPIC_RIGHTS
    assert refusal(group) == "does not allow our user the group settlement-ledger: it needs Describe and Read"
    assert refusal(TopicAuthorizationFailedError({"b.v1", "a.v1"})) == (
        "does not allow our user the topic a.v1, b.v1: it needs " + TOPIC_RIGHTS
    )


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (SaslAuthenticationFailed(), "Kafka does not let us in: "),
        (KafkaTimeoutError(), "Kafka did not accept what was written in time"),
        (NodeNotReadyError("Attempt to send a request to node which is not ready"), "Kafka is not ready: "),
        (KafkaConnectionError("no broker answers"), "Kafka: KafkaConnectionError: no broker answers"),
        (
            InvalidPasswordError("for user app"),
            "PostgreSQL does not let us in (for user app): check the user and the password in ",
        ),
        (
            FileNotFoundError(2, "No such file"),
            "PostgreSQL cannot be reached, a file that DATABASE_URL names does not ",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_worker_that_waits_reports_its_problem_in_one_sentence(error: Exception, message: str):
    health = SessionHealth()
    health.session_failed(error)

    assert health.problem is not None
    assert health.problem.startswith(message)
    assert type(error).__name__ not in health.problem.removeprefix(message)


async def test_several_unreachable_brokers_are_reported_in_the_same_words_each_time():
    """A worker logs each problem once; other words each time would fill the log."""
    several = replace(SETTINGS, kafka_bootstrap_servers="127.0.0.1:9,127.0.0.1:10,127.0.0.1:11")
    messages = set()
    for _ in range(12):
        with pytest.raises(KafkaConnectionError) as error:
            async with consumer(several):
                pass
        messages.add(str(error.value))

    assert messages == {"KafkaConnectionError: no broker answers at 127.0.0.1:9,127.0.0.1:10,127.0.0.1:11"}


async def test_a_client_that_cannot_start_is_closed():
    """An open client is reported by the garbage collector, which fails the test through the warning filter."""
    for _ in range(2):
        with pytest.raises(KafkaConnectionError):
            await Sink(SETTINGS).start()
        with pytest.raises(KafkaConnectionError):
            async with consumer(SETTINGS):
                pass
    gc.collect()


async def test_a_client_whose_stop_raises_is_closed_without_an_error(monkeypatch: pytest.MonkeyPatch):
    """Its error would replace the one that ended the session, and leave the rest of the session open."""

    stop = AIOKafkaConsumer.stop

    async def broken(consumer: AIOKafkaConsumer) -> None:
        await stop(consumer)
        raise KafkaError("Unexpected error during data retrieval")

    monkeypatch.setattr(AIOKafkaConsumer, "start", broken)
    monkeypatch.setattr(AIOKafkaConsumer, "stop", broken)
    source = Source(SETTINGS, "ledger", ("erp.invoices.v1",), lambda: None)
    with pytest.raises(KafkaError):
        await source.start()

    await source.stop()


async def test_a_broker_that_has_just_started_and_names_no_broker_is_asked_again_for_the_coordinator_of_a_group():
    """A worker reported what aiokafka asserts: "Did we not perform bootstrap?"."""
    with pytest.raises(NodeNotReadyError, match="no broker has named any yet") as error:
        await AIOKafkaClient(bootstrap_servers=SETTINGS.bootstrap).coordinator_lookup(0, "settlement-ledger")

    assert error.value.retriable
