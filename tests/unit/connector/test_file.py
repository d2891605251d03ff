"""The connectors file is read whole or refused with one sentence."""

import re
import tomllib
from pathlib import Path

import pytest
import structlog
from msgspec import NODEFAULT, Struct
from msgspec.structs import fields

from worker import telemetry
from worker.connector.file import FILE_BYTES_MAX, Connector, ConnectorsFileError, Merchant, parse
from worker.connector.in_force import ConnectorsInForce
from worker.connector.secret import Secret, SecretError
from worker.domain.terms import Capability
from worker.settings import SettingsError

MINIMAL = '[connectors.acme]\nurl = "https://pay.example/ppp/"\nprotocol = "ppp"\nmode = "PARTIAL"\n'


def test_missing_keys_have_the_defaults_of_the_contract():
    acme = parse(MINIMAL).connectors["acme"]

    assert acme == Connector(name="acme", url="https://pay.example/ppp", protocol="ppp", mode="PARTIAL")
    assert (acme.timeout_seconds, acme.max_in_flight, acme.max_per_second, acme.horizon_hours) == (20, 64, None, 24)
    assert acme.retry_seconds == (1, 5, 30, 120, 600, 3600)
    assert (acme.probe_seconds, acme.breaker_failures, acme.breaker_seconds) == (60, 10, 30)
    assert (acme.cancel_unit, acme.decline_after_unknown, acme.test_suite) == ("minor", "suspect", False)


def test_every_key_is_read_and_durations_may_be_fractions():
    text = (
        MINIMAL
        + """
partial_split = true
app_key = "env:ACME_KEY"
app_token = "file:/run/secrets/acme"
provider_headers = true
cancel_unit = "major"
timeout_seconds = 0.5
max_in_flight = 8
max_per_second = 2.5
retry_seconds = [0.2, 1]
horizon_hours = 0.001
probe_seconds = 0.1
breaker_failures = 3
breaker_seconds = 1.5
decline_after_unknown = "declined"
test_suite = true
"""
    )
    acme = parse(text).connectors["acme"]

    assert (acme.retry_seconds, acme.horizon_hours, acme.max_per_second) == ((0.2, 1.0), 0.001, 2.5)
    assert acme.app_key == Secret("env:ACME_KEY")
    assert acme.capability == Capability("PARTIAL", legacy=False, partial_split=True)


def test_the_capability_of_a_connector_is_found_by_its_name():
    file = parse(MINIMAL + '[connectors.old]\nurl = "http://old"\nprotocol = "legacy"\nmode = "TOTAL"\n')

    assert file.capability("old") == Capability("TOTAL", legacy=True)
    assert file.capability("nobody") is None
    assert set(file.connectors) == {"acme", "old"}


def test_a_merchant_without_a_table_has_the_default_merchants_switches():
    file = parse('[merchants.default]\nreturns = "after_invoiced"\n[merchants.shop]\npartial_settlement = false\n')

    assert file.merchant("anybody") == Merchant(returns="after_invoiced")
    assert file.merchant("shop") == Merchant(partial_settlement=False)
    assert parse("").merchant("anybody") == Merchant()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('colour = "red"', "[connectors.acme] key colour is unknown"),
        ("timeout_seconds = 0", "[connectors.acme] timeout_seconds must be seconds above 0"),
        ("timeout_seconds = inf", "timeout_seconds must be"),
        ("timeout_seconds = true", "timeout_seconds must be"),
        ('timeout_seconds = "20"', "timeout_seconds must be"),
        ("max_in_flight = 0", "max_in_flight must be a whole number from 1"),
        ("max_in_flight = 1.5", "max_in_flight must be"),
        ("retry_seconds = []", "retry_seconds must be a list of seconds"),
        ("retry_seconds = [1, -1]", "retry_seconds must be"),
        ("retry_seconds = 5", "retry_seconds must be"),
        ('cancel_unit = "cents"', 'cancel_unit must be "minor" or "major", not \'cents\''),
        ('decline_after_unknown = "maybe"', "decline_after_unknown must be"),
        ("test_suite = 1", "test_suite must be true or false"),
        ("max_per_second = nan", "max_per_second must be"),
        ("max_per_second = 1e-310", "max_per_second must be a number from 0.0001"),
    ],
)
def test_a_wrong_key_is_named_with_its_rule(line: str, message: str):
    with pytest.raises(ConnectorsFileError) as problem:
        parse(MINIMAL + line)

    assert message in str(problem.value)


@pytest.mark.parametrize(
    "text",
    [
        '[connectors.acme]\nurl = "http://a"\nprotocol = "ppp"\n',
        '[connectors.acme]\nurl = "http://a"\nmode = "TOTAL"\n',
        '[connectors.acme]\nprotocol = "ppp"\nmode = "TOTAL"\n',
        '[connectors.acme]\nurl = "ftp://a"\nprotocol = "ppp"\nmode = "TOTAL"\n',
        '[connectors.acme]\nurl = "http://a?b=c"\nprotocol = "ppp"\nmode = "TOTAL"\n',
        '[connectors.acme]\nurl = "http://a/b?"\nprotocol = "ppp"\nmode = "TOTAL"\n',
        '[connectors.acme]\nurl = "http://a/b#"\nprotocol = "ppp"\nmode = "TOTAL"\n',
        '[connectors.acme]\nurl = "http://a:99999"\nprotocol = "ppp"\nmode = "TOTAL"\n',
        "connectors = 1",
        "[connectors]\nacme = 1",
        "[merchant.default]",
        '[merchants.shop]\nreturns = "never"',
        "[merchants.shop]\nswitches = 1",
        "no toml",
    ],
)
def test_a_missing_or_misplaced_entry_makes_the_file_invalid(text: str):
    with pytest.raises(ConnectorsFileError):
        parse(text)


@pytest.mark.parametrize("key", ["app_key", "app_token", "url"])
def test_a_credential_typed_into_the_file_is_refused_and_not_repeated(key: str):
    line = {"url": 'url = "http://me:s3cret@a"'}.get(key, f'url = "http://a"\n{key} = "s3cret"')

    with pytest.raises(ConnectorsFileError) as problem:
        parse(f'[connectors.acme]\nprotocol = "ppp"\nmode = "TOTAL"\n{line}')

    assert key in str(problem.value)
    assert "s3cret" not in str(problem.value)


def test_a_credential_is_read_when_it_is_needed_and_never_shown_by_repr(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    file = tmp_path / "token"
    key, token = Secret("env:ACME_KEY"), Secret(f"file:{file}")
    with pytest.raises(SecretError, match="env:ACME_KEY"):
        key.read()
    with pytest.raises(SecretError):
        token.read()

    monkeypatch.setenv("ACME_KEY", "s3cret")
    file.write_text("t0ken\n")

    assert (key.read(), token.read()) == ("s3cret", "t0ken")
    assert "s3cret" not in repr(key)
    assert "t0ken" not in repr(token)


def test_a_credential_that_cannot_be_a_header_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ACME_KEY", "a\r\nX-Other: b")

    with pytest.raises(SecretError):
        Secret("env:ACME_KEY").read()


def test_an_invalid_file_leaves_the_old_one_in_force(tmp_path: Path):
    path = tmp_path / "connectors.toml"
    path.write_text(MINIMAL)
    in_force = ConnectorsInForce(path)

    path.write_text(MINIMAL + "colour = 1")
    assert not in_force.reload()

    [problem] = [alert["problem"] for alert in telemetry.lasting_alerts() if alert["code"] == "connectors_file"]
    assert "colour" in problem
    assert set(in_force.file.connectors) == {"acme"}

    path.write_text(MINIMAL.replace("acme", "other"))
    assert in_force.reload()
    assert set(in_force.file.connectors) == {"other"}
    assert "connectors_file" not in {alert["code"] for alert in telemetry.lasting_alerts()}


def test_a_reloaded_file_is_logged_with_the_connectors_that_it_changed(tmp_path: Path):
    path = tmp_path / "connectors.toml"
    path.write_text(f"{MINIMAL}{MINIMAL.replace('acme', 'cielo')}")
    in_force = ConnectorsInForce(path)
    path.write_text(
        f"{MINIMAL}{MINIMAL.replace('acme', 'cielo')}timeout_seconds = 3\n{MINIMAL.replace('acme', 'newpay')}"
    )

    with structlog.testing.capture_logs() as lines:
        in_force.reload()

    assert lines == [{
        "event": "connectors file in force", "log_level": "info", "connectors": ["acme", "cielo", "newpay"],
        "changed": ["cielo", "newpay"], "merchants_changed": [],
    }]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "the file cannot be read: No such file or directory"),
        (b"\xff", "the file cannot be read: it is not in UTF-8"),
        (b"#" * (FILE_BYTES_MAX + 1), "the file is larger than 4,194,304 bytes"),
        (b"connectors = 1", "connectors must be tables [connectors.<name>]"),
    ],
)
def test_a_worker_does_not_start_with_a_file_that_cannot_be_used_and_names_it_once(
    tmp_path: Path, content: bytes | None, why: str
):
    path = tmp_path / "connectors.toml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(SettingsError) as problem:
        ConnectorsInForce(path)

    assert str(problem.value) == f"CONNECTORS_FILE: {path}: {why}"


def test_a_worker_does_not_start_without_a_file():
    with pytest.raises(SettingsError, match="CONNECTORS_FILE is missing"):
        ConnectorsInForce(None)


@pytest.mark.parametrize(("table", "kind"), [("connectors", Connector), ("merchants", Merchant)])
def test_the_page_documents_exactly_the_keys_with_their_defaults(project: Path, table: str, kind: type[Struct]):
    page = (project / "docs/connectors.md").read_text()
    [section] = re.findall(rf"^## `\[{table}\.NAME\]`\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    documented = {
        key: default for keys, default in re.findall(r"^\| (`.+?`) \| .+? \| (.+?) \| .+ \|$", section, re.MULTILINE)
        for key in re.findall(r"`(\w+)`", keys)
    }  # fmt: skip
    known = {field.name: field.default for field in fields(kind) if field.name != "name"}

    assert documented.keys() == known.keys()
    assert {key for key, default in documented.items() if default == "required"} == {
        key for key, default in known.items() if default is NODEFAULT
    }
    for key, default in documented.items():
        if known[key] is not NODEFAULT and known[key] is not None:
            assert tomllib.loads(f"default = {default.strip('`')}")["default"] == _plain(known[key]), key


def test_the_example_file_is_valid_and_names_the_page(project: Path):
    example = (project / "deploy/connectors.example.toml").read_text()

    assert "docs/connectors.md" in example
    assert set(parse(example).connectors) == {"acme"}


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
