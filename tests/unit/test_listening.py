"""A server that cannot listen, or is sent invalid HTTP, reports it without harm."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.health import HealthServer
from worker.listening import CannotListen
from worker.settings import load

CONNECTORS = '[connectors.c1]\nurl = "http://127.0.0.1:9/"\nprotocol = "ppp"\nmode = "PARTIAL"\n'


@pytest.fixture
def occupied_port() -> Iterator[str]:
    """A port on which another server listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield str(server.getsockname()[1])


@pytest.mark.parametrize("host", ["a..b", "no such host"])
async def test_an_unknown_host_is_reported_with_the_settings_that_name_it(host: str):
    with pytest.raises(CannotListen) as refusal:
        await HealthServer(load({"OPS_HOST": host, "OPS_PORT": "9100"}), dict).start()

    assert str(refusal.value) == (
        f"cannot listen on {host}:9100 (this host is not known here); OPS_HOST and OPS_PORT say where"
    )


async def test_the_address_of_an_ipv6_server_is_printed_in_brackets(capsys: pytest.CaptureFixture[str]):
    server = HealthServer(load({"OPS_HOST": "::1", "OPS_PORT": "0"}), dict)
    try:
        await server.start()
    except CannotListen:
        pytest.skip("this machine has no IPv6")
    await server.stop()

    assert capsys.readouterr().out == f"ops server on http://[::1]:{server.port}\n"


@pytest.mark.parametrize(
    "invalid",
    [b"GET /live HTTP/1.1\r\nCookie hunter2\r\n\r\n", b"GET /" + b"hunter2" * 2000 + b" HTTP/1.1\r\n\r\n"],
    ids=["no header", "without end"],
)
async def test_invalid_http_is_answered_with_400_and_never_logged(invalid: bytes, caplog: pytest.LogCaptureFixture):
    server = HealthServer(load({"OPS_HOST": "127.0.0.1", "OPS_PORT": "0"}), dict)
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(invalid)
    answers = await reader.read()
    writer.close()
    await server.stop()

    assert b" 400 Bad Request" in answers
    assert caplog.records == []


@pytest.mark.parametrize(
    ("command", "named_by"),
    [
        (("ledger",), "OPS_HOST and OPS_PORT"),
        (("delivery",), "OPS_HOST and OPS_PORT"),
        (("ops",), "OPS_HOST and OPS_PORT"),
        (("sandbox", "connector", "--port"), "--host and --port"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_an_occupied_port_ends_the_program_with_one_sentence(
    tmp_path: Path, occupied_port: str, command: tuple[str, ...], named_by: str
):
    (tmp_path / "connectors.toml").write_text(CONNECTORS)
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "DATABASE_URL": "postgresql://u:p@127.0.0.1:9/d",
        "CONNECTORS_FILE": str(tmp_path / "connectors.toml"), "OPS_HOST": "127.0.0.1", "OPS_PORT": occupied_port,
    }  # fmt: skip

    ended = subprocess.run(
        [sys.executable, "-m", "worker", *command, *([occupied_port] if command[-1] == "--port" else [])],
        env=os.environ | settings, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert ended.returncode == 2, ended.stderr
    assert ended.stderr == (
        f"settlement: cannot listen on 127.0.0.1:{occupied_port} (address already in use); {named_by} say where\n"
    )
