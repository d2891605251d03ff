"""Fuzzed connector answers: none raises, and none counts as a false success.

`FUZZ_ANSWERS=1000000` makes a longer run; `FUZZ_SEED` starts at the seed that failed.
"""

import asyncio
import http.client
import io
import json
import os
import random
from decimal import Decimal
from fractions import Fraction
from typing import Any, get_args

from tests.integration.connector_server import COMMAND, NOW_MS, TLS, listening
from worker.connector.answers import Answer, AttemptFate, classify
from worker.connector.client import Client
from worker.connector.command import ID_FIELDS, OPERATIONS
from worker.connector.file import Connector
from worker.domain.order import Operation

FUZZ_ANSWERS = int(os.environ.get("FUZZ_ANSWERS", "2000"))
FUZZ_SEED = int(os.environ.get("FUZZ_SEED", "0"))

STATUSES = [200] * 12 + [
    100,
    101,
    199,
    201,
    202,
    204,
    206,
    301,
    304,
    400,
    401,
    403,
    404,
    408,
    425,
    429,
    500,
    501,
    503,
    999,
]
JUNK: list[Any] = [
    None, "", "p1", "r1", "s1", "x", 0, 1, -1, 60, 60.0, 60.01, 6000, "60.00", 1e308, 2**53, 10**400, True, [], {},
    ["s1"], {"a": 1}, "\ud800", "\0", "a" * 300, "refund-manually", "cancel-manually",
]  # fmt: skip
RAW_NUMBERS = [
    b"NaN",
    b"Infinity",
    b"1e999999999",
    b"-0",
    b"0.0",
    b"6e1",
    b"60.000000000000000000001",
    b"1E+2",
    b"00060",
]
HEADERS = [
    "Retry-After: 1", "Retry-After: -1", "Retry-After: \xff", "Retry-After: Fri, 99 Foo 9999 99:99:99 GMT",
    "Content-Encoding: gzip", "Content-Encoding: br", "Transfer-Encoding: chunked", "Content-Length: 5",
    "Content-Length: -1", "Content-Length: 99999999999999999999", "Connection: upgrade", "Set-Cookie: a=b",
    "X: " + "y" * 9_000,
    "Location: http://127.0.0.1:1/", "Content-Type: text/html; charset=utf-7", "No colon", ": empty", "A\0: b",
]  # fmt: skip


def damaged_answer(dice: random.Random, operation: Operation) -> bytes:
    """A correct answer, damaged at random."""
    content = _damaged_body(dice, operation)
    length = len(content) if dice.random() < 0.9 else dice.randrange(2 * len(content) + 2)
    lines = [f"HTTP/1.{dice.choice('1110')} {dice.choice(STATUSES)} OK", f"Content-Length: {length}"]
    lines += dice.sample(HEADERS, dice.choice((0, 0, 0, 1, 2)))
    answer = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content
    for _ in range(dice.choice((0, 0, 0, 0, 1, 3))):
        place = dice.randrange(len(answer) + 1)
        answer = (
            answer[:place] + dice.choice([b"", dice.randbytes(2), b"\r\n", b"0"]) + answer[place + dice.randrange(4) :]
        )
    return answer if dice.random() < 0.9 else answer[: dice.randrange(len(answer) + 1)]


def _damaged_body(dice: random.Random, operation: Operation) -> bytes:
    body: dict[str, Any] = {
        "paymentId": "p1", "requestId": "r1", ID_FIELDS[operation]: "s-9", "value": 60.0, "code": None, "message": "ok",
    }  # fmt: skip
    for _ in range(dice.choice((0, 1, 1, 2, 4))):
        name = dice.choice([*body, "other"])
        if dice.random() < 0.3:
            body.pop(name, None)
        else:
            body[name] = dice.choice(JUNK)
    content = json.dumps(body).encode()
    if dice.random() < 0.1:
        content = content.replace(b"60.0", dice.choice(RAW_NUMBERS))
    if dice.random() < 0.1:
        content = dice.choice(
            [content + content, b"[" + content + b"]", b"\xef\xbb\xbf" + content, content[::-1], b"[" * 3_000]
        )
    return content


def is_true_success(answer: bytes, operation: Operation, result: Answer) -> bool:
    """R32 on the same bytes by other means: the standard library's HTTP, and amounts as fractions."""

    class Sock:
        def makefile(self, *_: Any) -> io.BytesIO:
            return io.BytesIO(answer.lstrip(b"\r\n"))  # leading empty lines are skipped, as our client does

    reply = http.client.HTTPResponse(Sock(), method="POST")
    reply.begin()
    body = json.loads(reply.read(), parse_float=Decimal, parse_int=Decimal)  # Fraction would expand 1e999999999
    identity = body[ID_FIELDS[operation]]
    done = COMMAND.value if operation == "cancel" or body.get("value") is None else Fraction(body["value"]) * 100
    return (
        reply.status == 200
        and (identity == result.operation_id or identity == Decimal(result.operation_id or "0"))
        and bool(identity or identity == 0)
        and body.get("paymentId") in (None, "p1")
        and body.get("requestId") in (None, "r1")
        and body.get("code") not in ("refund-manually", "cancel-manually")
        and 0 < done <= COMMAND.value
        and done == result.value
    )


async def test_no_damaged_answer_raises_or_counts_as_a_false_success():
    answer = b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(answer)
        writer.close()

    fates: dict[str, int] = {}
    async with listening(serve) as port:
        url = f"http://127.0.0.1:{port}"
        acme = Connector(name="acme", url=url, protocol="ppp", mode="PARTIAL", timeout_seconds=0.5)
        client = Client(acme, TLS)
        try:
            for seed in range(FUZZ_SEED, FUZZ_SEED + FUZZ_ANSWERS):
                dice = random.Random(seed)
                operation = dice.choice(OPERATIONS)
                answer = damaged_answer(dice, operation)
                happened = await client.send(operation, COMMAND)
                result = classify(
                    happened, operation, COMMAND, acme, earlier_unknown=dice.random() < 0.3, now_ms=NOW_MS
                )
                assert result.fate in get_args(AttemptFate), f"FUZZ_SEED={seed}"
                if result.fate == "succeeded":
                    assert is_true_success(answer, operation, result), f"FUZZ_SEED={seed}: {answer!r} is {result}"
                fates[result.fate] = fates.get(result.fate, 0) + 1
        finally:
            await client.close()

    print(f"\n{FUZZ_ANSWERS} answers: {fates}")
    assert {"succeeded", "unknown", "suspect"} <= fates.keys()
