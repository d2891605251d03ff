"""Credentials that a connector repeats in its replies are withheld."""

import asyncio
import json

import pytest

from tests.integration.connector_server import answer_with, http, listening
from tests.integration.delivery.harness import DeliveryHarness
from worker.telemetry import lasting_alerts

TOKEN = 'to/ken"of-acme'


async def test_a_credential_repeated_by_a_connector_is_withheld_everywhere(
    delivery: DeliveryHarness, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("ACME_TOKEN", TOKEN)
    reply = {"code": f"bad-{TOKEN}", "message": "x" * 492 + TOKEN}
    slashes = http(400, json.dumps(reply).replace("/", r"\/").encode())
    answers = iter([http(401, reply), http(200, {"paymentId": TOKEN, "settleId": "s"}), http(400, reply), slashes])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer_with(next(answers))(reader, writer)

    async with listening(serve) as port:
        delivery.url = f"http://127.0.0.1:{port}"
        delivery.connectors(acme='app_token = "env:ACME_TOKEN"\nprobe_seconds = 0.2')
        delivery.handler.reload()
        delivery.send("a")
        await delivery.cycle()
        await delivery.run_until(("a", "waiting"))
        alerts = str(lasting_alerts())
        await delivery.run_until(("a", "suspect"))
        for command_id in ("b", "c"):
            delivery.send(command_id)
            await delivery.run_until((command_id, "declined"))

    rows = await delivery.value("SELECT string_agg(a::text, ' ') FROM attempts a")
    rows += await delivery.value("SELECT string_agg(concat(code, message), ' ') FROM commands")
    published = b" ".join(
        b" ".join([record.value or b"", *(content or b"" for _, content in record.headers)])
        for record in delivery.outgoing
    )
    stored = rows + published.decode() + capsys.readouterr().out + alerts

    assert "bad-[withheld]" in stored
    assert "the reply has the paymentId [withheld]" in stored
    assert "to/ken" not in stored
    assert "of-acme" not in stored
