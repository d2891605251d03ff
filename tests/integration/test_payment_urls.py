"""The URL of a call as it arrives: the payment id is one percent-encoded segment of the path."""

from typing import Literal

import msgspec
import pytest

from tests.integration.connector_server import COMMAND, GOOD, TLS, answer_with, http, listening
from worker.connector.client import Client, NotTried, Reply
from worker.connector.command import OPERATIONS, action
from worker.connector.file import Connector
from worker.domain.order import Operation

UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
ASCII = "".join(map(chr, range(128)))


def encoded(payment_id: str) -> str:
    """Percent-encodes all but the unreserved characters of RFC 3986."""
    return "".join(chr(byte) if byte in UNRESERVED else f"%{byte:02X}" for byte in payment_id.encode())


async def requested_target(payment_id: str, operation: Operation = "settle", *, base: str = "/ppp",
                protocol: Literal["ppp", "legacy"] = "ppp") -> str:  # fmt: skip
    """The target of the request on the wire."""
    requests: list[bytes] = []
    async with listening(answer_with(http(200, GOOD), requests)) as port:
        url = f"http://127.0.0.1:{port}{base}"
        client = Client(Connector(name="acme", url=url, protocol=protocol, mode="PARTIAL", timeout_seconds=5.0), TLS)
        happened = await client.send(operation, msgspec.structs.replace(COMMAND, payment_id=payment_id))
        await client.close()
    assert isinstance(happened, Reply), happened
    method, target, version = requests[0].split(b"\r\n")[0].decode("ascii").split(" ")
    assert (method, version) == ("POST", "HTTP/1.1")
    assert f"\r\nhost: 127.0.0.1:{port}\r\n".encode() in requests[0].lower()
    return target


@pytest.mark.parametrize("protocol", ["ppp", "legacy"])
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_every_call_has_the_payment_id_as_one_segment_of_its_path(
    operation: Operation, protocol: Literal["ppp", "legacy"]
):
    target = await requested_target("a;b=c@d:e", operation, protocol=protocol)

    assert target == f"/ppp/payments/a%3Bb%3Dc%40d%3Ae/{action(operation)}"


@pytest.mark.parametrize("payment_id", [
    ASCII, "%", "%3B", "%2e%2E", "%zz", "100%", "a/b", "/", "//", "../x", "..;/x", "?a=b&c", "#x", "a+b c", "\\..\\",
    " ", "\t\r\n", "\"'<>`", "[x]{y}|^", "é€😀", "\u2028\u202e", "...;", ".;", "~-._", "x" * 256, "€" * 256,
], ids=lambda payment_id: ascii(payment_id)[:20])  # fmt: skip
async def test_a_payment_id_of_any_characters_arrives_percent_encoded(payment_id: str):
    assert await requested_target(payment_id) == f"/ppp/payments/{encoded(payment_id)}/settlements"


@pytest.mark.parametrize("payment_id", [".", "..", "..."])
async def test_a_payment_id_of_dots_alone_is_not_sent(payment_id: str):
    client = Client(Connector(name="acme", url="http://127.0.0.1:9", protocol="ppp", mode="PARTIAL"), TLS)
    happened = await client.send("settle", msgspec.structs.replace(COMMAND, payment_id=payment_id))
    await client.close()

    assert isinstance(happened, NotTried)


@pytest.mark.parametrize(("base", "arrives"), [
    ("", ""), ("/", ""), ("/a/b/", "/a/b"), ("/a;v=1/b@c", "/a;v=1/b@c"), ("/a%3Bb%2Fc", "/a%3Bb%2Fc"),
    ("/a//b", "/a//b"), ("/a(1)+2", "/a(1)+2"), ("/a#", "/a"),
])  # fmt: skip
async def test_the_connectors_base_path_is_sent_as_configured(base: str, arrives: str):
    assert await requested_target("p;1", base=base) == f"{arrives}/payments/p%3B1/settlements"
