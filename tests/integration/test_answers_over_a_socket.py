"""Every answer that a connector can give, over a real socket, and the fate that R32-R38 give it."""

import asyncio
import gzip
import json
import socket
import ssl
import threading
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import Any

import msgspec
import pytest

from worker.connector.answers import Answer, classify, refuse_used_id
from worker.connector.client import RESPONSE_BYTES_MAX, Client, Reply, tls_context
from worker.connector.command import Command
from worker.connector.file import Connector, parse
from worker.connector.secret import Secret
from worker.domain.order import Operation

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
COMMAND = Command(
    command_id="c1", request_id="r1", order_id="o1", payment_id="p1", transaction_id="t1", authorization_id="a1",
    connector="acme", currency="USD", value=6000, sequence=1, settle_id="s1",
)  # fmt: skip
GOOD = {"paymentId": "p1", "requestId": "r1", "settleId": "s-9", "value": 60.0, "code": None, "message": "done"}
NOW_MS = 1_700_000_000_000
TLS = tls_context()
THREADS_OF_A_LOOP = 32  # at most, for whatever would block it


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


@asynccontextmanager
async def listening(serve: Serve, **options: Any) -> AsyncIterator[int]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def saying(answer: bytes, heard: list[bytes] | None = None) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = next(
            int(line.split(b":")[1]) for line in head.lower().splitlines() if line.startswith(b"content-length")
        )
        content = await reader.readexactly(size)
        if heard is not None:
            heard.append(head + content)
        writer.write(answer)
        await writer.drain()
        writer.close()

    return serve


def http(status: int, content: object, *headers: str) -> bytes:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    lines = [f"HTTP/1.1 {status} Status", "Content-Type: application/json", f"Content-Length: {len(data)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


async def answer_to(
    answer: bytes, operation: Operation = "settle", *, earlier_unknown: bool = False, **changed: Any
) -> Answer:
    async with listening(saying(answer)) as port:
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
async def test_a_settle_with_an_id_and_our_echo_is_booked_at_the_replys_value(content: Any, value: int, identity: str):
    answer = await answer_to(http(200, content))

    assert (answer.fate, answer.value, answer.operation_id) == ("succeeded", value, identity)


@pytest.mark.parametrize(
    "digits",
    [b"60.01", b"0", b"-60", b"45.005", b"1e400000", b'"60.00"', b"true", b"60.000000000000000000000000000001",
     b"9" * 5000, b"[60]"],
)  # fmt: skip
async def test_a_value_that_cannot_be_ours_is_suspect(digits: bytes):
    content = json.dumps({**GOOD, "value": "@"}).encode().replace(b'"@"', digits)

    assert (await answer_to(http(200, content))).fate == "suspect"


@pytest.mark.parametrize("digits", [b"60", b"60.0", b"60.00", b"6e1", b"6.0E+1", b"60.000000000"])
async def test_a_value_may_be_written_in_any_way_that_is_exact(digits: bytes):
    content = json.dumps({**GOOD, "value": "@"}).encode().replace(b'"@"', digits)

    answer = await answer_to(http(200, content))

    assert (answer.fate, answer.value) == ("succeeded", 6000)


@pytest.mark.parametrize(
    ("twice", "fate"),
    [(b'"value": 45', "suspect"), (b'"requestId": "other"', "suspect"), (b'"settleId": "s-8"', "unknown"),
     (b'"settleId": null', "unknown"), (b'"value": 60.00', "succeeded"), (b'"note": 1, "note": 2', "succeeded")],
)  # fmt: skip
async def test_a_reply_that_says_two_things_of_one_name_is_believed_in_neither(twice: bytes, fate: str):
    content = json.dumps(GOOD).encode()

    assert (await answer_to(http(200, b"{" + twice + b", " + content[1:]))).fate == fate
    assert (await answer_to(http(200, content[:-1] + b", " + twice + b"}"))).fate == fate


@pytest.mark.parametrize("name", ["value", "requestId", "paymentId"])
async def test_a_reply_that_contradicts_itself_ten_thousand_times_is_suspect_like_any_other(name: str):
    again = b"".join(b', "%s": %d' % (name.encode(), number) for number in range(10_000))

    answer = await answer_to(http(200, json.dumps(GOOD).encode()[:-1] + again + b"}"))

    assert answer.fate == "suspect"


@pytest.mark.parametrize(
    "changed",
    [{"requestId": "other"}, {"paymentId": "other"}, {"paymentId": 1}, {"settleId": "x" * 257}, {"settleId": "a\x00b"},
     {"settleId": "\ud800"}],
)  # fmt: skip
async def test_a_reply_that_speaks_of_somebody_else_is_suspect(changed: dict[str, Any]):
    assert (await answer_to(http(200, {**GOOD, **changed}))).fate == "suspect"


async def test_an_operation_id_of_another_command_is_suspect_and_says_whose_it_is():
    refused = refuse_used_id(await answer_to(http(200, GOOD)), "another command's")

    assert (refused.fate, refused.value, refused.operation_id) == ("suspect", 0, None)
    assert refused.message == f"the operation id {GOOD['settleId']!r} is another command's"


async def test_a_cancel_is_booked_as_asked_whatever_value_the_reply_has():
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


@pytest.mark.parametrize("answer", UNKNOWN, ids=lambda one: one[:40].decode(errors="replace"))
async def test_what_says_nothing_definite_is_unknown(answer: bytes):
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


async def test_a_refusal_whose_reason_has_letters_of_its_country_is_a_refusal():
    reason = "Requisi\u00e7\u00e3o inv\u00e1lida".encode("latin-1")
    answer = http(400, {"code": "expired", "message": "not with us"}).replace(b"400 Status", b"400 " + reason)

    assert (await answer_to(answer)).fate == "declined"
    assert (await answer_to(answer.replace(b"400", b"401", 1))).fate == "stopped"
    assert (await answer_to(http(200, GOOD).replace(b"Status", "\u00c9".encode("latin-1")))).fate == "succeeded"


async def test_a_refusal_that_breaks_off_may_have_gone_on_to_say_manual_and_is_unknown():
    refusal = {"settleId": None, "code": "refund-manually", "message": "no"}

    for status in (400, 404, 405):
        assert (await answer_to(http(status, refusal)[:-30])).fate == "unknown"
    assert (await answer_to(http(400, b"x" * (RESPONSE_BYTES_MAX + 1)))).fate == "declined"


@pytest.mark.parametrize("answer", [http(401, {"code": "x"}), http(403, b""), http(404, b"<html>"), http(405, b""),
                                    http(404, b"[]")])  # fmt: skip
async def test_what_refuses_everybody_stops_the_connector(answer: bytes):
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
async def test_manual_work_without_an_id_is_manual_whatever_the_status(status: int, code: str):
    assert (await answer_to(http(status, {"settleId": None, "code": code}))).fate == "manual"
    assert (await answer_to(http(status, {"settleId": None, "code": code}), earlier_unknown=True)).fate == "manual"


async def test_501_is_manual_and_with_an_id_suspect():
    assert (await answer_to(http(501, b"page"))).fate == "manual"
    assert (await answer_to(http(501, GOOD))).fate == "suspect"
    assert (await answer_to(http(200, {**GOOD, "code": "refund-manually"}))).fate == "suspect"


@pytest.mark.parametrize(("encoding", "encode"), [("gzip", gzip.compress), ("X-GZIP", gzip.compress),
                                                  ("deflate", zlib.compress), ("identity", bytes)])  # fmt: skip
async def test_an_encoding_that_nobody_asked_for_is_read_all_the_same(encoding: str, encode: Callable[[bytes], bytes]):
    content = encode(json.dumps(GOOD).encode())

    answer = await answer_to(http(200, content, f"Content-Encoding: {encoding}"))

    assert (answer.fate, answer.value, answer.operation_id) == ("succeeded", 6000, "s-9")


async def test_an_encoded_refusal_that_cannot_be_read_to_its_end_may_have_gone_on_to_say_manual():
    refusal = json.dumps({"code": "refund-manually"}).encode()
    twice = gzip.compress(gzip.compress(refusal))

    for encoding, content in (("gzip", gzip.compress(refusal)[:-9]), ("gzip, gzip", twice), ("br", b"br"),
                              ("gzip", b"no")):  # fmt: skip
        assert (await answer_to(http(400, content, f"Content-Encoding: {encoding}"))).fate == "unknown"
    assert (await answer_to(http(400, b"", "Content-Encoding: gzip"))).fate == "declined"


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip"])
async def test_a_few_bytes_that_inflate_to_very_many_take_no_more_room_than_a_reply_may_have(encoding: str):
    content = json.dumps(GOOD).encode() + b" " * (64 * RESPONSE_BYTES_MAX)
    for _ in encoding.split():
        content = gzip.compress(content)

    tracemalloc.start()
    answer = await answer_to(http(200, content, f"Content-Encoding: {encoding}"))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert answer.fate == "unknown"
    assert most < 8 * RESPONSE_BYTES_MAX


async def test_a_refund_answered_with_500_is_not_yet():
    assert (await answer_to(http(500, {"refundId": None, "code": "later"}), "refund")).fate == "unknown"


async def test_a_legacy_connector_may_leave_out_ids_and_echoes_but_not_contradict():
    bare = await answer_to(http(200, {"message": "ok"}), protocol="legacy")
    null = await answer_to(http(200, {"settleId": None}), protocol="legacy")
    wrong = await answer_to(http(200, {"requestId": "other"}), protocol="legacy")

    assert (bare.fate, bare.value, bare.operation_id) == ("succeeded", 6000, "r1")
    assert (null.fate, wrong.fate) == ("unknown", "suspect")


async def test_a_port_that_refuses_was_not_sent_to():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        answer = await ask(acme(unused.getsockname()[1]))

    assert (answer.fate, answer.code) == ("not_sent", "connect")


async def test_whoever_is_called_reads_what_was_met_where_httpx_calls_everything_a_timeout():
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


async def test_a_name_that_does_not_resolve_was_not_sent_to():
    connector = msgspec.structs.replace(acme(1), url="http://nobody.invalid/", timeout_seconds=10.0)

    assert (await ask(connector)).fate == "not_sent"


async def test_names_that_no_server_answers_for_hold_up_only_their_own_connectors(monkeypatch: pytest.MonkeyPatch):
    look_up, given_up = socket.getaddrinfo, threading.Event()

    def unless_nobody_answers(host: Any, *of: Any, **how: Any) -> Any:
        if str(host).endswith(".example"):
            given_up.wait()
        return look_up(host, *of, **how)

    monkeypatch.setattr(socket, "getaddrinfo", unless_nobody_answers)
    async with listening(saying(http(200, GOOD))) as port:
        lost = [
            msgspec.structs.replace(acme(port), url=f"http://lost-{number}.example:{port}")
            for number in range(THREADS_OF_A_LOOP + 1)
        ]
        found = msgspec.structs.replace(acme(port), url=f"http://localhost:{port}", timeout_seconds=10.0)
        try:
            *unanswered, good = await asyncio.gather(*map(ask, [*lost, found]))
        finally:
            given_up.set()

    assert {(one.fate, one.code) for one in unanswered} == {("not_sent", "timeout")}
    assert good.fate == "succeeded", good.message


@pytest.mark.parametrize("host", ["256.256.256.256", "..", "127.1"])
async def test_what_can_be_nobodys_address_was_not_sent_to(host: str):
    table = f'[connectors.acme]\nurl = "http://{host}"\nprotocol = "ppp"\nmode = "PARTIAL"'

    assert (await ask(parse(table).connectors["acme"])).fate == "not_sent"


async def test_a_server_without_tls_where_tls_is_wanted_was_not_sent_to():
    async def answer_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(http(400, b""))
        await writer.drain()
        writer.close()

    async with listening(answer_at_once) as port:
        answer = await ask(msgspec.structs.replace(acme(port), url=f"https://127.0.0.1:{port}"))

    assert (answer.fate, answer.code) == ("not_sent", "tls")


def test_certificates_and_names_are_verified():
    assert TLS.verify_mode is ssl.CERT_REQUIRED
    assert TLS.check_hostname


async def test_a_connection_that_hangs_before_tls_was_not_sent_to():
    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2)
        writer.close()

    async with listening(hang) as port:
        answer = await ask(msgspec.structs.replace(acme(port), url=f"https://127.0.0.1:{port}"))

    assert (answer.fate, answer.code) == ("not_sent", "timeout")


async def test_silence_and_a_trickle_both_end_at_the_time_limit():
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


async def test_what_comes_over_an_idle_connection_answers_no_later_command():
    connected = 0

    async def says_it_again(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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
    async with listening(says_it_again) as port:
        client = Client(acme(port), TLS)
        asked = [await client.send("settle", COMMAND)]
        idle.set()
        await ask(acme(port))  # over another connection: what was said before it has come by now
        asked.append(await client.send("settle", msgspec.structs.replace(COMMAND, request_id="r2", payment_id="p2")))
        await client.close()

    assert [json.loads(one.body) for one in asked if isinstance(one, Reply)] == [
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


async def test_the_request_is_what_the_contract_says(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ACME_KEY", "key-1")
    monkeypatch.setenv("ACME_TOKEN", "token-1")
    heard: list[bytes] = []
    async with listening(saying(http(200, GOOD), heard)) as port:
        secrets = {"app_key": Secret("env:ACME_KEY"), "app_token": Secret("env:ACME_TOKEN")}
        odd = msgspec.structs.replace(COMMAND, payment_id="a/b ?é..")
        await ask(acme(port, **secrets, test_suite=True), command=odd)
        await ask(acme(port, **secrets, provider_headers=True))
        await ask(acme(port))

    first, second, third = (one.decode() for one in heard)
    assert first.startswith("POST /ppp/payments/a%2Fb%20%3F%C3%A9../settlements HTTP/1.1\r\n")
    for line in ("X-VTEX-API-AppKey: key-1", "X-VTEX-API-AppToken: token-1", "X-VTEX-API-Is-TestSuite: true",
                 "Accept: application/json", "Content-Type: application/json", "traceparent: 00-trace-01"):  # fmt: skip
        assert line.lower() in first.lower()
    assert "x-provider-api-appkey: key-1" in second.lower()
    assert "x-vtex" not in second.lower()
    assert "appkey" not in third.lower()
    assert "istestsuite" not in second.lower().replace("-", "")


async def test_a_credential_that_cannot_be_read_stops_the_connector_and_sends_nothing():
    heard: list[bytes] = []
    async with listening(saying(http(200, GOOD), heard)) as port:
        answer = await ask(acme(port, app_key=Secret("env:NOWHERE_TO_BE_FOUND")))

    assert (answer.fate, heard) == ("stopped", [])


async def test_a_payment_id_of_dots_is_never_sent_to_somebody_elses_address():
    heard: list[bytes] = []
    async with listening(saying(http(200, GOOD), heard)) as port:
        answer = await ask(acme(port), command=msgspec.structs.replace(COMMAND, payment_id=".."))

    assert (answer.fate, heard) == ("suspect", [])


async def test_cookies_of_a_reply_are_not_carried_to_the_next_payment():
    heard: list[bytes] = []
    async with listening(saying(http(200, GOOD, "Set-Cookie: session=1; Path=/"), heard)) as port:
        client = Client(acme(port), TLS)
        await client.send("settle", COMMAND)
        await client.send("settle", COMMAND)
        await client.close()

    assert all(b"cookie" not in one.lower() for one in heard)
