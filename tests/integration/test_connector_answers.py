"""Answers of a connector over a real socket, and the fates that R32-R38 give them."""

import asyncio
import gzip
import json
import socket
import ssl
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import msgspec
import pytest

from tests.integration.connector_server import COMMAND, GOOD, NOW_MS, TLS, answer_with, http, listening
from worker.connector.answers import Answer, classify, refuse_used_id
from worker.connector.client import RESPONSE_BYTES_MAX, Client, Reply
from worker.connector.command import Command
from worker.connector.file import Connector, parse
from worker.connector.secret import Secret
from worker.domain.order import Operation

LOOP_THREADS_MAX = 32  # of the event loop's executor, for blocking calls


def acme(port: int, **changed: Any) -> Connector:
    table = {"timeout_seconds": 0.5, **changed}
    return Connector(name="acme", url=f"http://127.0.0.1:{port}/ppp", protocol=table.pop("protocol", "ppp"),
                     mode="PARTIAL", **table)  # fmt: skip


async def ask(
    connector: Connector, operation: Operation = "settle", command: Command = COMMAND, *, earlier_unknown: bool = False
) -> Answer:
    client = Client(connector, TLS)
    try:
        happened = await client.send(operation, command, "00-trace-01")
    finally:
        await client.close()
    return classify(happened, operation, command, connector, earlier_unknown=earlier_unknown, now_ms=NOW_MS)


async def answer_to(
    answer: bytes, operation: Operation = "settle", *, earlier_unknown: bool = False, **changed: Any
) -> Answer:
    async with listening(answer_with(answer)) as port:
        return await ask(acme(port, **changed), operation, earlier_unknown=earlier_unknown)


SUCCESSES = [
    (GOOD, 6000, "s-9"),
    ({**GOOD, "value": 45}, 4500, "s-9"),
    ({name: value for name, value in GOOD.items() if name != "value"}, 6000, "s-9"),
    ({**GOOD, "value": None}, 6000, "s-9"),
    ({"settleId": "s-9", "value": 60}, 6000, "s-9"),
    ({**GOOD, "settleId": 12345}, 6000, "12345"),
]


@pytest.mark.parametrize(("content", "value", "identity"), SUCCESSES)
async def test_a_settle_reply_with_an_id_and_a_matching_echo_is_booked_at_its_value(
    content: Any, value: int, identity: str
):
    answer = await answer_to(http(200, content))

    assert (answer.fate, answer.value, answer.operation_id) == ("succeeded", value, identity)


@pytest.mark.parametrize(
    "digits",
    [b"60.01", b"0", b"-60", b"45.005", b"1e400000", b'"60.00"', b"true", b"60.000000000000000000000000000001",
     b"9" * 5000, b"[60]"],
)  # fmt: skip
async def test_an_impossible_value_is_suspect(digits: bytes):
    content = json.dumps({**GOOD, "value": "@"}).encode().replace(b'"@"', digits)

    assert (await answer_to(http(200, content))).fate == "suspect"


@pytest.mark.parametrize("digits", [b"60", b"60.0", b"60.00", b"6e1", b"6.0E+1", b"60.000000000"])
async def test_an_exact_value_is_accepted_in_any_number_format(digits: bytes):
    content = json.dumps({**GOOD, "value": "@"}).encode().replace(b'"@"', digits)

    answer = await answer_to(http(200, content))

    assert (answer.fate, answer.value) == ("succeeded", 6000)


@pytest.mark.parametrize(
    ("twice", "fate"),
    [(b'"value": 45', "suspect"), (b'"requestId": "other"', "suspect"), (b'"settleId": "s-8"', "unknown"),
     (b'"settleId": null', "unknown"), (b'"value": 60.00', "succeeded"), (b'"note": 1, "note": 2', "succeeded")],
)  # fmt: skip
async def test_contradicting_duplicates_of_a_field_make_a_reply_suspect_or_unknown(twice: bytes, fate: str):
    content = json.dumps(GOOD).encode()

    assert (await answer_to(http(200, b"{" + twice + b", " + content[1:]))).fate == fate
    assert (await answer_to(http(200, content[:-1] + b", " + twice + b"}"))).fate == fate


@pytest.mark.parametrize("name", ["value", "requestId", "paymentId"])
async def test_ten_thousand_duplicates_of_a_field_make_a_reply_suspect(name: str):
    duplicates = b"".join(b', "%s": %d' % (name.encode(), number) for number in range(10_000))

    answer = await answer_to(http(200, json.dumps(GOOD).encode()[:-1] + duplicates + b"}"))

    assert answer.fate == "suspect"


@pytest.mark.parametrize(
    "changed",
    [{"requestId": "other"}, {"paymentId": "other"}, {"paymentId": 1}, {"settleId": "x" * 257}, {"settleId": "a\x00b"},
     {"settleId": "\ud800"}],
)  # fmt: skip
async def test_a_reply_with_a_foreign_or_invalid_id_is_suspect(changed: dict[str, Any]):
    assert (await answer_to(http(200, {**GOOD, **changed}))).fate == "suspect"


async def test_the_operation_id_of_another_command_is_suspect_and_the_message_says_so():
    answer = refuse_used_id(await answer_to(http(200, GOOD)), "another command's")

    assert (answer.fate, answer.value, answer.operation_id) == ("suspect", 0, None)
    assert answer.message == f"the operation id {GOOD['settleId']!r} is another command's"


async def test_a_cancel_is_booked_at_the_requested_value_whatever_the_reply_says():
    reply = {"paymentId": "p1", "requestId": "r1", "cancellationId": "c-1", "value": 1, "code": None, "message": ""}

    answer = await answer_to(http(200, reply), "cancel")

    assert (answer.fate, answer.value, answer.operation_id) == ("succeeded", 6000, "c-1")


UNKNOWN = [
    http(200, {**GOOD, "settleId": None}), http(200, {**GOOD, "settleId": ""}), http(200, {"requestId": "r1"}),
    http(200, {**GOOD, "settleId": ["s"]}), http(200, b"<html>It works!</html>"), http(200, b""), http(200, b"[]"),
    http(200, b"null"), http(200, b'{"settleId": NaN}'), http(200, b"\xff\xfe"), http(200, b"[" * 100_000),
    http(200, b'{"a": "' + b"x" * RESPONSE_BYTES_MAX + b'"}'), http(201, GOOD), http(202, GOOD), http(204, b""),
    http(301, b"", "Location: http://127.0.0.1:1/"), http(302, GOOD, "Location: /x"), http(307, b"", "Location: /x"),
    http(304, b""), http(408, {"code": "x"}), http(425, {"code": "x"}), http(500, {"code": "x"}), http(502, b"page"),
    http(503, b""), http(504, b""), http(505, b""), http(599, b""), http(200, GOOD)[:-20], b"HTTP/1.1 200 OK\r\n",
    b"nonsense\r\n\r\n", b"", http(200, GOOD, "X-Large: " + "x" * 100_000), http(200, GOOD, "Content-Encoding: gzip"),
]  # fmt: skip


@pytest.mark.parametrize("answer", UNKNOWN, ids=lambda answer: answer[:40].decode(errors="replace"))
async def test_an_indefinite_reply_is_unknown(answer: bytes):
    assert (await answer_to(answer)).fate == "unknown"
    assert (await answer_to(answer, earlier_unknown=True)).fate == "unknown"


@pytest.mark.parametrize("status", [400, 402, 404, 405, 406, 409, 410, 413, 418, 422, 451, 499])
async def test_a_refusal_is_definite_only_if_no_earlier_attempt_was_unknown(status: int):
    refusal = http(status, {"settleId": None, "code": "no-funds", "message": "no"})

    assert (await answer_to(refusal)).code == "no-funds"
    assert (await answer_to(refusal)).fate == "declined"
    assert (await answer_to(refusal, earlier_unknown=True)).fate == "suspect"
    assert (await answer_to(refusal, earlier_unknown=True, decline_after_unknown="declined")).fate == "declined"


@pytest.mark.parametrize("answer", [http(400, b""), http(400, b"page"), http(422, b"[]")])
async def test_a_refusal_needs_no_body(answer: bytes):
    assert (await answer_to(answer)).fate == "declined"


async def test_a_status_line_with_latin_1_letters_is_read():
    reason = "Requisi\u00e7\u00e3o inv\u00e1lida".encode("latin-1")
    answer = http(400, {"code": "expired", "message": "not with us"}).replace(b"400 Status", b"400 " + reason)

    assert (await answer_to(answer)).fate == "declined"
    assert (await answer_to(answer.replace(b"400", b"401", 1))).fate == "stopped"
    assert (await answer_to(http(200, GOOD).replace(b"Status", "\u00c9".encode("latin-1")))).fate == "succeeded"


async def test_a_truncated_refusal_is_unknown_because_it_may_have_said_manual():
    refusal = {"settleId": None, "code": "refund-manually", "message": "no"}

    for status in (400, 404, 405):
        assert (await answer_to(http(status, refusal)[:-30])).fate == "unknown"
    assert (await answer_to(http(400, b"x" * (RESPONSE_BYTES_MAX + 1)))).fate == "declined"


@pytest.mark.parametrize("answer", [http(401, {"code": "x"}), http(403, b""), http(404, b"<html>"), http(405, b""),
                                    http(404, b"[]")])  # fmt: skip
async def test_a_refusal_of_every_request_stops_the_connector(answer: bytes):
    assert (await answer_to(answer)).fate == "stopped"


@pytest.mark.parametrize(
    ("after", "seconds"),
    [("2", 2.0), ("0", 0.0), ("999999", 3600.0), ("soon", None), ("-1", None), ("9" * 400, 3600.0)],
)  # fmt: skip
async def test_retry_after_in_seconds_is_obeyed_up_to_an_hour(after: str, seconds: float | None):
    busy = await answer_to(http(429, {"code": "x"}, f"Retry-After: {after}"))
    unavailable = await answer_to(http(503, {"code": "x"}, f"Retry-After: {after}"))

    assert (busy.fate, busy.hold_seconds) == ("busy", seconds)
    assert (unavailable.fate, unavailable.hold_seconds) == ("unknown", seconds)


@pytest.mark.parametrize(("offset", "seconds"), [(90, 90), (-90, 0), (10_000, 3600)])
async def test_retry_after_as_a_date_is_obeyed_up_to_an_hour(offset: int, seconds: float):
    date = formatdate(NOW_MS / 1000 + offset, usegmt=True)

    assert (await answer_to(http(429, b"", f"Retry-After: {date}"))).hold_seconds == seconds


@pytest.mark.parametrize("status", [200, 400, 401, 408, 429, 500, 501])
@pytest.mark.parametrize("code", ["refund-manually", "cancel-manually"])
async def test_a_manual_code_without_an_id_is_manual_whatever_the_status(status: int, code: str):
    assert (await answer_to(http(status, {"settleId": None, "code": code}))).fate == "manual"
    assert (await answer_to(http(status, {"settleId": None, "code": code}), earlier_unknown=True)).fate == "manual"


async def test_501_is_manual_and_with_an_id_suspect():
    assert (await answer_to(http(501, b"page"))).fate == "manual"
    assert (await answer_to(http(501, GOOD))).fate == "suspect"
    assert (await answer_to(http(200, {**GOOD, "code": "refund-manually"}))).fate == "suspect"


@pytest.mark.parametrize(("encoding", "encode"), [("gzip", gzip.compress), ("X-GZIP", gzip.compress),
                                                  ("deflate", zlib.compress), ("identity", bytes)])  # fmt: skip
async def test_a_compressed_reply_is_read_although_it_was_not_requested(
    encoding: str, encode: Callable[[bytes], bytes]
):
    content = encode(json.dumps(GOOD).encode())

    answer = await answer_to(http(200, content, f"Content-Encoding: {encoding}"))

    assert (answer.fate, answer.value, answer.operation_id) == ("succeeded", 6000, "s-9")


async def test_a_compressed_refusal_that_cannot_be_decoded_is_unknown():
    refusal = json.dumps({"code": "refund-manually"}).encode()
    twice = gzip.compress(gzip.compress(refusal))

    for encoding, content in (("gzip", gzip.compress(refusal)[:-9]), ("gzip, gzip", twice), ("br", b"br"),
                              ("gzip", b"no")):  # fmt: skip
        assert (await answer_to(http(400, content, f"Content-Encoding: {encoding}"))).fate == "unknown"
    assert (await answer_to(http(400, b"", "Content-Encoding: gzip"))).fate == "declined"


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip"])
async def test_a_compression_bomb_is_unknown_and_uses_bounded_memory(encoding: str):
    content = json.dumps(GOOD).encode() + b" " * (64 * RESPONSE_BYTES_MAX)
    for _ in encoding.split():
        content = gzip.compress(content)

    tracemalloc.start()
    answer = await answer_to(http(200, content, f"Content-Encoding: {encoding}"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert answer.fate == "unknown"
    assert peak < 8 * RESPONSE_BYTES_MAX


async def test_a_refund_answered_with_500_is_unknown():
    assert (await answer_to(http(500, {"refundId": None, "code": "later"}), "refund")).fate == "unknown"


async def test_a_legacy_connector_may_omit_ids_and_echoes_but_not_contradict_them():
    bare = await answer_to(http(200, {"message": "ok"}), protocol="legacy")
    null = await answer_to(http(200, {"settleId": None}), protocol="legacy")
    wrong = await answer_to(http(200, {"requestId": "other"}), protocol="legacy")

    assert (bare.fate, bare.value, bare.operation_id) == ("succeeded", 6000, "r1")
    assert (null.fate, wrong.fate) == ("unknown", "suspect")


async def test_a_refused_connection_counts_as_not_sent():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        answer = await ask(acme(unused.getsockname()[1]))

    assert (answer.fate, answer.code) == ("not_sent", "connect")


async def test_the_message_names_the_real_cause_of_a_connection_failure():
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async def no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http(400, b""))
        await writer.drain()
        writer.close()

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        refused = await ask(acme(port := unused.getsockname()[1]))
    async with listening(cut) as other:
        broken = await ask(acme(other))
    async with listening(no_tls) as other:
        plain = await ask(msgspec.structs.replace(acme(other), url=f"https://127.0.0.1:{other}"))

    assert refused.message == f"connect: Connect call failed ('127.0.0.1', {port})"
    assert broken.message == "reset: ServerDisconnectedError"
    assert "WRONG_VERSION_NUMBER" in plain.message


async def test_a_host_name_that_does_not_resolve_counts_as_not_sent():
    connector = msgspec.structs.replace(acme(1), url="http://nobody.invalid/", timeout_seconds=10.0)

    assert (await ask(connector)).fate == "not_sent"


async def test_hanging_name_lookups_delay_only_their_own_connectors(monkeypatch: pytest.MonkeyPatch):
    look_up, released = socket.getaddrinfo, threading.Event()

    def hang_for_example_names(host: Any, *arguments: Any, **options: Any) -> Any:
        if str(host).endswith(".example"):
            released.wait()
        return look_up(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hang_for_example_names)
    async with listening(answer_with(http(200, GOOD))) as port:
        unresolvable = [
            msgspec.structs.replace(acme(port), url=f"http://lost-{number}.example:{port}")
            for number in range(LOOP_THREADS_MAX + 1)
        ]
        reachable = msgspec.structs.replace(acme(port), url=f"http://localhost:{port}", timeout_seconds=10.0)
        try:
            *unanswered, good = await asyncio.gather(*map(ask, [*unresolvable, reachable]))
        finally:
            released.set()

    assert {(answer.fate, answer.code) for answer in unanswered} == {("not_sent", "timeout")}
    assert good.fate == "succeeded", good.message


@pytest.mark.parametrize("host", ["256.256.256.256", "..", "127.1"])
async def test_an_invalid_host_counts_as_not_sent(host: str):
    table = f'[connectors.acme]\nurl = "http://{host}"\nprotocol = "ppp"\nmode = "PARTIAL"'

    assert (await ask(parse(table).connectors["acme"])).fate == "not_sent"


async def test_a_server_without_tls_counts_as_not_sent():
    async def answer_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(http(400, b""))
        await writer.drain()
        writer.close()

    async with listening(answer_at_once) as port:
        answer = await ask(msgspec.structs.replace(acme(port), url=f"https://127.0.0.1:{port}"))

    assert (answer.fate, answer.code) == ("not_sent", "tls")


def test_tls_certificates_and_host_names_are_verified():
    assert TLS.verify_mode is ssl.CERT_REQUIRED
    assert TLS.check_hostname


async def test_a_hanging_tls_handshake_counts_as_not_sent():
    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2)
        writer.close()

    async with listening(hang) as port:
        answer = await ask(msgspec.structs.replace(acme(port), url=f"https://127.0.0.1:{port}"))

    assert (answer.fate, answer.code) == ("not_sent", "timeout")


async def test_a_silent_and_a_trickling_reply_both_end_at_the_timeout():
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await asyncio.sleep(0.05)

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    for serve in (trickle, silence):
        async with listening(serve) as port:
            began = time.monotonic()
            answer = await ask(acme(port))
            assert (answer.fate, answer.code) == ("unknown", "timeout")
            assert time.monotonic() - began < 1.5


async def test_data_received_on_an_idle_connection_answers_no_later_command():
    connected = 0

    async def answer_twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connected
        connected += 1
        answer = http(200, {"settleId": f"s-{connected}"})
        await reader.readuntil(b"}")
        writer.write(answer)
        await idle.wait()
        writer.write(answer)
        await reader.read()
        writer.close()

    idle = asyncio.Event()
    async with listening(answer_twice) as port:
        client = Client(acme(port), TLS)
        replies = [await client.send("settle", COMMAND)]
        idle.set()
        await ask(acme(port))  # over another connection: the repeated answer has arrived by now
        replies.append(await client.send("settle", msgspec.structs.replace(COMMAND, request_id="r2", payment_id="p2")))
        await client.close()

    assert [json.loads(reply.body) for reply in replies if isinstance(reply, Reply)] == [
        {"settleId": "s-1"},
        {"settleId": "s-3"},
    ]


async def test_a_reset_after_the_first_byte_is_unknown():
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.transport.abort()

    async with listening(reset) as port:
        answer = await ask(acme(port))

    assert answer.fate == "unknown"


async def test_the_request_has_the_path_and_headers_of_the_contract(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ACME_KEY", "key-1")
    monkeypatch.setenv("ACME_TOKEN", "token-1")
    requests: list[bytes] = []
    async with listening(answer_with(http(200, GOOD), requests)) as port:
        secrets = {"app_key": Secret("env:ACME_KEY"), "app_token": Secret("env:ACME_TOKEN")}
        odd = msgspec.structs.replace(COMMAND, payment_id="a/b ?é..")
        await ask(acme(port, **secrets, test_suite=True), command=odd)
        await ask(acme(port, **secrets, provider_headers=True))
        await ask(acme(port))

    first, second, third = (request.decode() for request in requests)
    assert first.startswith("POST /ppp/payments/a%2Fb%20%3F%C3%A9../settlements HTTP/1.1\r\n")
    for line in ("X-VTEX-API-AppKey: key-1", "X-VTEX-API-AppToken: token-1", "X-VTEX-API-Is-TestSuite: true",
                 "Accept: application/json", "Content-Type: application/json", "traceparent: 00-trace-01"):  # fmt: skip
        assert line.lower() in first.lower()
    assert "x-provider-api-appkey: key-1" in second.lower()
    assert "x-vtex" not in second.lower()
    assert "appkey" not in third.lower()
    assert "istestsuite" not in second.lower().replace("-", "")


async def test_a_credential_that_cannot_be_read_stops_the_connector_and_sends_nothing():
    requests: list[bytes] = []
    async with listening(answer_with(http(200, GOOD), requests)) as port:
        answer = await ask(acme(port, app_key=Secret("env:NOWHERE_TO_BE_FOUND")))

    assert (answer.fate, requests) == ("stopped", [])


async def test_a_payment_id_of_dots_is_suspect_and_never_sent():
    requests: list[bytes] = []
    async with listening(answer_with(http(200, GOOD), requests)) as port:
        answer = await ask(acme(port), command=msgspec.structs.replace(COMMAND, payment_id=".."))

    assert (answer.fate, requests) == ("suspect", [])


async def test_cookies_of_a_reply_are_not_sent_with_the_next_payment():
    requests: list[bytes] = []
    async with listening(answer_with(http(200, GOOD, "Set-Cookie: session=1; Path=/"), requests)) as port:
        client = Client(acme(port), TLS)
        await client.send("settle", COMMAND)
        await client.send("settle", COMMAND)
        await client.close()

    assert all(b"cookie" not in request.lower() for request in requests)
