"""Settings are read as the contract says, or refused with one line."""

import os
import re
import subprocess
import sys
from dataclasses import asdict
from inspect import signature
from pathlib import Path

import certifi
import pytest
from asyncpg.connect_utils import _parse_connect_dsn_and_args

from worker.embedded import with_embedded_stack
from worker.settings import NAMES, SettingsError, load, takes
from worker.stack import StackEnv

CONTRACT = """
KAFKA_BOOTSTRAP_SERVERS KAFKA_SECURITY_PROTOCOL KAFKA_SASL_MECHANISM KAFKA_SASL_USERNAME KAFKA_SASL_PASSWORD
KAFKA_SSL_CAFILE TOPIC_PREFIX TOPIC_PARTITIONS DATABASE_URL CONNECTORS_FILE PARKING_HOURS EXPIRY_LEAD_HOURS
OPS_HOST OPS_PORT OPS_TOKEN OPS_VIEW_TOKEN LOG_LEVEL LOG_FORMAT SETTLEMENT_HOME
"""
OF_OUR_OWN = {"DRAIN_SECONDS"}


def test_exactly_the_settings_of_the_contract_and_drain_seconds_exist():
    assert set(CONTRACT.split()) | OF_OUR_OWN == set(NAMES)


def test_without_settings_the_embedded_stack_and_the_defaults_of_the_contract_apply():
    settings = load({})

    assert settings.embedded
    assert (settings.topic_prefix, settings.topic_partitions) == ("", 12)
    assert (settings.parking_ms, settings.expiry_lead_ms) == (72 * 3_600_000, 24 * 3_600_000)
    assert (settings.ops_host, settings.ops_port) == ("127.0.0.1", None)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("TOPIC_PARTITIONS", "twelve", "TOPIC_PARTITIONS takes a whole number from 1 to 1000, not 'twelve'"),
        ("TOPIC_PARTITIONS", "0", "TOPIC_PARTITIONS takes a whole number from 1 to 1000, not '0'"),
        ("TOPIC_PREFIX", "a b", "TOPIC_PREFIX takes up to 100 letters"),
        ("PARKING_HOURS", "-1", "PARKING_HOURS takes hours above 0"),
        ("PARKING_HOURS", "nan", "PARKING_HOURS takes hours above 0"),
        ("DRAIN_SECONDS", "0", "DRAIN_SECONDS takes seconds above 0"),
        ("EXPIRY_LEAD_HOURS", "soon", "EXPIRY_LEAD_HOURS takes hours above 0"),
        ("OPS_PORT", "70000", "OPS_PORT takes a port from 0"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL takes debug, info, warning or error"),
        ("LOG_FORMAT", "xml", "LOG_FORMAT takes json or text"),
        ("KAFKA_SECURITY_PROTOCOL", "TLS", "KAFKA_SECURITY_PROTOCOL takes PLAINTEXT, SSL"),
        ("KAFKA_SSL_CAFILE", "/nowhere.pem", "KAFKA_SSL_CAFILE takes the path of a PEM file"),
        ("KAFKA_SSL_CAFILE", __file__, "KAFKA_SSL_CAFILE takes the path of a PEM file"),
        ("KAFKA_BOOTSTRAP_SERVERS", "host:abc", "KAFKA_BOOTSTRAP_SERVERS takes host:port, several with commas"),
        ("KAFKA_BOOTSTRAP_SERVERS", "localhost", "KAFKA_BOOTSTRAP_SERVERS takes host:port"),
        ("KAFKA_BOOTSTRAP_SERVERS", ",", "KAFKA_BOOTSTRAP_SERVERS takes host:port"),
        ("KAFKA_BOOTSTRAP_SERVERS", "a:9092,", "KAFKA_BOOTSTRAP_SERVERS takes host:port"),
        ("KAFKA_BOOTSTRAP_SERVERS", "a:9092 b:9092", "KAFKA_BOOTSTRAP_SERVERS takes host:port"),
        ("KAFKA_BOOTSTRAP_SERVERS", "a:0", "KAFKA_BOOTSTRAP_SERVERS takes host:port"),
        ("KAFKA_BOOTSTRAP_SERVERS", "::1", "KAFKA_BOOTSTRAP_SERVERS takes host:port"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka://a:9092", "KAFKA_BOOTSTRAP_SERVERS takes host:port"),
        ("OPS_TOKEN_FILE", "/nowhere", "OPS_TOKEN_FILE takes the path of a text file"),
    ],
)
def test_a_malformed_setting_is_refused_with_what_it_takes(name: str, value: str, sentence: str):
    with pytest.raises(SettingsError) as refusal:
        load({name: value})

    assert str(refusal.value).startswith(sentence)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "name", ["TOPIC_PARTITIONS", "OPS_PORT", "PARKING_HOURS", "EXPIRY_LEAD_HOURS", "DRAIN_SECONDS"]
)
@pytest.mark.parametrize(
    "text",
    ["1_0", "+5", "-0", " 5", "5 ", "5\n", "1e1", "5e0", "inf", "infinity", "nan", "٥", "５", "²", "0x5", "5,0", "."],
)
def test_a_number_that_only_python_would_accept_is_refused(name: str, text: str):
    with pytest.raises(SettingsError) as refusal:
        load({name: text})

    assert str(refusal.value) == f"{name} takes {takes(name)}, not {text!r}"


@pytest.mark.parametrize("text", ["2.0", "2.5", ".5"])
def test_counts_and_ports_have_no_fractions(text: str):
    for name in ("TOPIC_PARTITIONS", "OPS_PORT"):
        with pytest.raises(SettingsError, match=f"{name} takes a"):
            load({name: text})


@pytest.mark.parametrize(("text", "hours"), [("72", 72), ("0.5", 0.5), (".5", 0.5), ("007", 7), ("0.00001", 1e-5)])
def test_hours_may_be_fractions_also_with_the_embedded_stack(monkeypatch: pytest.MonkeyPatch, text: str, hours: float):
    monkeypatch.setattr("worker.stack.environment", lambda _: StackEnv("127.0.0.1:9", "postgresql://u@h/d"))

    settings = load({"PARKING_HOURS": text})

    assert settings.parking_hours == with_embedded_stack(settings).parking_hours == hours


@pytest.mark.parametrize(
    "url",
    [
        "mysql://shop:Top5ecret@host/db",
        "postgresql://shop:Top5ecret/x@host/db",
        "postgresql://shop:5432/Top5ecret@host/db",
        "postgresql://shop:Top5ecret?x@host/db",
        "postgresql://shop:5432#Top5ecret@host/db",
        "postgresql://shop:Top5ecret@x@host/db",
        "postgresql://shop:Top5ecret]@host/db",
        "postgresql://shop:Top5ecret@host:port/db",
        "postgresql://shop:Top5ecret@host:65536/db",
        "postgresql://shop:Top5ecret@one,/db",
        "postgresql://shop:Top5ecret@fe80::1/db",
        "postgresql://shop:Top5ecret@/db?host=/run&port=x",
        "postgresql://shop:Top5ecret@host/db?sslmode=perhaps",
        "postgresql://shop:Top5ecret@host/db?sslmode",
    ],
)
def test_a_database_url_that_the_driver_would_misread_is_refused_without_showing_it(url: str):
    with pytest.raises(SettingsError) as refusal:
        load({"DATABASE_URL": url})

    assert str(refusal.value).startswith("DATABASE_URL takes postgresql://user:password@host:port/database")
    assert "5ecret" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "places"),
    [
        ("postgresql://u:p@host/db", [("host", 5432)]),
        ("postgres://u:p%2F%40%23@host:6543", [("host", 6543)]),
        # Newer Pythons read an address in brackets only where it comes first.
        ("postgresql://u:p@[::1]:3,one:1,two/db", [("::1", 3), ("one", 1), ("two", 5432)]),
        ("postgresql://u@/db?host=/run/pg", ["/run/pg/.s.PGSQL.5432"]),
        ("postgresql:///db?host=/a,host:7&user=u@server", ["/a/.s.PGSQL.5432", ("host", 7)]),
        ("postgresql://%2Frun%2Fpg/db?sslmode=prefer", ["/run/pg/.s.PGSQL.5432"]),
        ("postgresql://u:p@/db?host=a,b&port=1,2&application_name=x", [("a", 1), ("b", 2)]),
        ("postgresql://u:p@host:/db?sslmode=disable", [("host", 5432)]),
    ],
)
def test_every_form_of_database_url_that_the_driver_reads_is_accepted(url: str, places: list[object]):
    """The driver's own parser is the reference."""
    nothing = dict.fromkeys(signature(_parse_connect_dsn_and_args).parameters)

    assert _parse_connect_dsn_and_args(**nothing | {"dsn": load({"DATABASE_URL": url}).database})[0] == places


@pytest.mark.parametrize("servers", ["a:9092", "a.b:1, c-d_e:65535", "[::1]:9092,127.0.0.1:9092"])
def test_brokers_are_pairs_of_host_and_port(servers: str):
    assert load({"KAFKA_BOOTSTRAP_SERVERS": servers}).bootstrap == servers


def test_the_ca_file_must_contain_certificates(tmp_path: Path):
    key = tmp_path / "key.pem"
    key.write_text("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n")
    roots = Path(certifi.where())

    assert load({"KAFKA_SSL_CAFILE": str(roots)}).kafka_ssl_cafile == roots
    with pytest.raises(SettingsError, match="KAFKA_SSL_CAFILE takes the path of a PEM file of certificates"):
        load({"KAFKA_SSL_CAFILE": str(key)})


@pytest.mark.parametrize(
    ("name", "intended"),
    [
        ("OPS_PRT", "OPS_PORT"),
        ("TOPIC_PARTITION", "TOPIC_PARTITIONS"),
        ("DATABASE_URI", "DATABASE_URL"),
        ("DATABSAE_URL", "DATABASE_URL"),
        ("KAFKA_BOOTSTRAP_SERVER", "KAFKA_BOOTSTRAP_SERVERS"),
        ("KAFKA_SASL_USER", "KAFKA_SASL_USERNAME"),
        ("CONNECTOR_FILE", "CONNECTORS_FILE"),
        ("PARKING_HOUR_FILE", "PARKING_HOURS"),
        ("SETTLEMENT_HOMES", "SETTLEMENT_HOME"),
    ],
)
def test_a_mistyped_setting_is_answered_with_the_intended_name(name: str, intended: str):
    with pytest.raises(SettingsError, match=f"{name} is not one of our settings; did you mean {intended}?"):
        load({name: "1"})


def test_environment_variables_of_other_programs_are_ignored():
    load({
        "KAFKA_HEAP_OPTS": "-Xmx1g", "KAFKA_LOG4J_OPTS": "", "LOGLEVEL": "x", "LOG_DIR": "/tmp", "DATABASE": "x",
        "OPS_SERVICE_HOST": "10.0.0.1", "OPS_PORT_8080_TCP": "tcp://10.0.0.1:8080", "SETTLEMENT_SERVICE_PORT": "80",
        "DATABASE_URL": "postgres://h/d", "DATABASE_URI": "of another program", "PATH": "/bin", "HOME": "/root",
    })  # fmt: skip


def test_a_value_from_a_file_loses_its_last_newline(tmp_path: Path):
    (tmp_path / "url").write_text("postgresql://u:secret@h/d\n")

    settings = load({"DATABASE_URL_FILE": str(tmp_path / "url")})

    assert settings.database == "postgresql://u:secret@h/d"


def test_a_value_and_its_file_together_are_refused(tmp_path: Path):
    with pytest.raises(SettingsError, match="OPS_TOKEN and OPS_TOKEN_FILE are both set"):
        load({"OPS_TOKEN": "a", "OPS_TOKEN_FILE": str(tmp_path)})


def test_secrets_are_never_shown():
    given = {"DATABASE_URL": "postgresql://u:hunter2@h/d", "OPS_TOKEN": "hunter2", "OPS_VIEW_TOKEN": "hunter2",
             "KAFKA_SASL_PASSWORD": "hunter2"}  # fmt: skip

    settings = load(given)

    assert "hunter2" not in repr(settings) + str(settings) + str(asdict(settings))
    with pytest.raises(SettingsError) as refusal:
        load({"DATABASE_URL": "mysql://u:hunter2@h/d"})
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize(
    "servers", ["u:hunter2@h:9092", "a:9092,u:hunter2@h:9092", "kafka://u:hunter2@h:9092", "hunter2@h"]
)
def test_a_credential_in_the_brokers_address_is_refused_without_showing_it(servers: str):
    with pytest.raises(SettingsError) as refusal:
        load({"KAFKA_BOOTSTRAP_SERVERS": servers})

    assert str(refusal.value) == "KAFKA_BOOTSTRAP_SERVERS takes host:port, several with commas"


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_value_given_instead_of_a_file_is_not_shown_because_it_may_be_the_secret(name: str, tmp_path: Path):
    binary = tmp_path / "hunter2"
    binary.write_bytes(b"\xff")
    for given, why in (("hunter2", "No such file or directory"), ("hunter2" * 100, "File name too long"),
                       (str(binary), "it is not in UTF-8"), (str(tmp_path), "Is a directory")):  # fmt: skip
        with pytest.raises(SettingsError) as refusal:
            load({f"{name}_FILE": given})

        assert str(refusal.value) == f"{name}_FILE takes the path of a text file that can be read: {why}"


def test_a_home_of_an_unknown_user_is_refused_when_it_is_used():
    settings = load({"SETTLEMENT_HOME": "~nobody-of-that-name/stack"})

    with pytest.raises(SettingsError) as refusal:
        _ = settings.home

    assert str(refusal.value) == (
        "SETTLEMENT_HOME takes the folder of the embedded stack, not '~nobody-of-that-name/stack'"
    )


def test_sasl_without_credentials_is_refused():
    with pytest.raises(SettingsError, match="KAFKA_SASL_PASSWORD is missing"):
        load({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_USERNAME": "u"})


def test_a_setting_for_only_one_server_does_not_use_the_embedded_stack():
    settings = load({"DATABASE_URL": "postgresql://h/d"})

    assert not settings.embedded
    with pytest.raises(SettingsError, match="KAFKA_BOOTSTRAP_SERVERS is missing"):
        _ = settings.bootstrap


@pytest.mark.parametrize("worker", ["ledger", "delivery"])
@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://u:p@127.0.0.1:9/d"}, "KAFKA_BOOTSTRAP_SERVERS"),
    ],
)
def test_a_worker_with_a_setting_for_only_one_server_exits_and_names_the_missing_one(
    worker: str, given: dict[str, str], missing: str, tmp_path: Path
):
    (tmp_path / "c.toml").write_text('[connectors.c]\nurl = "http://127.0.0.1:9/"\nprotocol = "ppp"\nmode = "TOTAL"\n')
    others = {name: value for name, value in os.environ.items() if name not in NAMES}

    ended = subprocess.run([sys.executable, "-m", "worker", worker], capture_output=True, text=True, timeout=60,
                           env=others | given | {"CONNECTORS_FILE": str(tmp_path / "c.toml")}, check=False)  # fmt: skip

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"settlement: {missing} is missing")
    assert ended.stderr.count("\n") == 1


def test_every_setting_describes_what_it_takes():
    for name in NAMES:
        assert re.match(r"[a-zA-Z]", takes(name)), name
