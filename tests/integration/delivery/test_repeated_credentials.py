"""A connector that repeats what it was sent: the credentials are for it alone."""

import asyncio
import json

import pytest

from tests.integration.connector_server import answer_with, http, listening
from tests.integration.delivery.harness import DeliveryHarness
from worker.telemetry import lasting_alerts

TOKEN = 'to/ken"of-acme'


async def test_a_credential_that_a_connector_repeats_is_withheld_wherever_its_words_are_kept(
    delivery: DeliveryHarness, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("ACME_TOKEN", TOKEN)
    said = {"code": f"bad-{TOKEN}", "message": "x" * 492 + TOKEN}
    slashes = http(400, json.dumps(said).replace("/", r"\/").encode())
    answers = iter([http(401, said), http(200, {"paymentId": TOKEN, "settleId": "s"}), http(400, said), slashes])

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
    told = b" ".join(
        b" ".join([one.value or b"", *(content or b"" for _, content in one.headers)]) for one in delivery.outgoing
    )
    kept = rows + told.decode() + capsys.readouterr().out + alerts

    assert "bad-[withheld]" in kept
    assert "the reply has the paymentId [withheld]" in kept
    assert "to/ken" not in kept
    assert "of-acme" not in kept
