"""What a client of Kafka's met is told apart from what the database does, and no client is left open."""

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


async def test_brokers_that_do_not_answer_in_time_are_not_taken_for_the_database(monkeypatch: pytest.MonkeyPatch):
    async def at_once(_: AIOKafkaAdminClient) -> None:
        return None

    monkeypatch.setattr(AIOKafkaAdminClient, "start", at_once)
    with pytest.raises(KafkaError) as met:
        async with admin_client(SETTINGS):
            raise TimeoutError

    said = message_and_exit_code(met.value)
    assert said is not None
    assert "Kafka" in said[0]
    assert "PostgreSQL" not in said[0]


def test_whoever_publishes_before_the_topics_are_there_is_told_what_creates_them():
    said = message_and_exit_code(UnknownTopicOrPartitionError())

    assert said is not None
    assert said[0].endswith("lacks a topic of ours: `settlement topics` creates what is missing")


def test_what_a_worker_says_of_kafka_whoever_types_reads_too_with_the_brokers_that_were_asked(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9")
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:9/none")

    said = message_and_exit_code(NodeNotReadyError("Attempt to send a request to node 7 which is not ready"))

    assert said == ("Kafka at 127.0.0.1:9 is not ready: a broker that we need cannot be reached", 1)


@pytest.mark.parametrize(
    ("met", "said"),
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
async def test_a_broker_that_refuses_us_is_not_told_as_one_that_is_away(
    met: Exception, said: str, monkeypatch: pytest.MonkeyPatch
):
    async def refuse(_: AIOKafkaConnection) -> None:
        raise met

    monkeypatch.setattr(AIOKafkaConnection, "connect", refuse)
    with pytest.raises(KafkaError) as problem:
        async with admin_client(SETTINGS):
            pass

    told = message_and_exit_code(problem.value)
    assert told is not None
    assert said in told[0]


@pytest.mark.parametrize("content", [None, "", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
async def test_certificates_that_are_replaced_just_now_are_named_and_the_database_is_not_blamed_for_them(
    content: str | None, tmp_path: Path
):
    cafile = tmp_path / "ca.pem"
    settings = replace(SETTINGS, kafka_security_protocol="SSL", kafka_ssl_cafile=cafile)
    if content is not None:
        cafile.write_text(content)
    health = SessionHealth()

    with pytest.raises(KafkaError) as met:
        await Sink(settings).start()
    health.session_failed(met.value)

    assert health.problem is not None
    assert health.problem.startswith("Kafka: ")
    assert f"KAFKA_SSL_CAFILE {cafile} is not a PEM file of certificates that can be read" in health.problem


def test_what_our_user_may_not_use_is_named_with_the_rights_that_it_needs():
    topic, group = TopicAuthorizationFailedError("erp.invoices.v1"), GroupAuthorizationFailedError("settlement-ledger")

    assert refusal(topic) == "does not allow our user the topic erp.invoices.v1: it needs " + TOPIC_RIGHTS
    assert refusal(group) == "does not allow our user the group settlement-ledger: it needs Describe and Read"
    assert refusal(TopicAuthorizationFailedError({"b.v1", "a.v1"})) == (
        "does not allow our user the topic a.v1, b.v1: it needs " + TOPIC_RIGHTS
    )


@pytest.mark.parametrize(
    ("met", "said"),
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
async def test_whoever_asks_why_a_worker_waits_reads_a_sentence(met: Exception, said: str):
    health = SessionHealth()
    health.session_failed(met)

    assert health.problem is not None
    assert health.problem.startswith(said)
    assert type(met).__name__ not in health.problem.removeprefix(said)


async def test_several_brokers_that_are_away_are_one_problem_however_often_they_are_tried():
    """A worker says each problem once: in other words each time, it would fill the log."""
    several = replace(SETTINGS, kafka_bootstrap_servers="127.0.0.1:9,127.0.0.1:10,127.0.0.1:11")
    told = set()
    for _ in range(12):
        with pytest.raises(KafkaConnectionError) as met:
            async with consumer(several):
                pass
        told.add(str(met.value))

    assert told == {"KafkaConnectionError: no broker answers at 127.0.0.1:9,127.0.0.1:10,127.0.0.1:11"}


async def test_a_client_that_cannot_start_is_closed():
    """Else it is reported from within the garbage collector, which the warning filter makes a failure."""
    for _ in range(2):
        with pytest.raises(KafkaConnectionError):
            await Sink(SETTINGS).start()
        with pytest.raises(KafkaConnectionError):
            async with consumer(SETTINGS):
                pass
    gc.collect()


async def test_a_client_whose_fetches_ended_long_ago_is_closed_like_any_other(monkeypatch: pytest.MonkeyPatch):
    """What it raises would take the place of what ended the session, and leave the rest of the session open."""

    stopping = AIOKafkaConsumer.stop

    async def broken(consumer: AIOKafkaConsumer) -> None:
        await stopping(consumer)
        raise KafkaError("Unexpected error during data retrieval")

    monkeypatch.setattr(AIOKafkaConsumer, "start", broken)
    monkeypatch.setattr(AIOKafkaConsumer, "stop", broken)
    source = Source(SETTINGS, "ledger", ("erp.invoices.v1",), lambda: None)
    with pytest.raises(KafkaError):
        await source.start()

    await source.stop()


class _NamesNone:
    """A consumer of a broker that has just started, whose first answer names no broker, not even itself."""

    async def commit(self, _: object) -> None:
        await AIOKafkaClient(bootstrap_servers=SETTINGS.bootstrap).coordinator_lookup(0, "settlement-ledger")

    committed = commit


async def test_a_broker_that_has_just_started_and_names_none_is_waited_for(monkeypatch: pytest.MonkeyPatch):
    source = Source(SETTINGS, "ledger", ("erp.invoices.v1",), lambda: None)
    monkeypatch.setattr(source, "_consumer", _NamesNone())

    await source._find_coordinator(_NamesNone())
    with pytest.raises(NodeNotReadyError):
        await source.commit({("erp.invoices.v1", 0): 1})
