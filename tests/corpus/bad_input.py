"""Bad input, by what is wrong with it: each case is one record and the reason code under which it must end.

A case's order is `known` where the fact needs one (the test opens it first), so that nothing here is merely parked.
"""

import json
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from worker.domain.money import MAX_MINOR
from worker.kafka import names
from worker.kafka.envelope import VALUE_BYTES_MAX, binary_headers
from worker.kafka.records import Headers

INVOICES, CHANGES, OUTCOMES = names.INVOICES, names.ORDER_CHANGES, names.OUTCOMES
ORDER = "known"
CARD = {"paymentId": "known.p1", "transactionId": "T", "authorizationId": "A", "connector": "c1", "value": 10_000}
# The second card has no command in flight: what its gateway captures is judged at once.
CARDS = [CARD, CARD | {"paymentId": "known.p2", "value": 20_000}]
AUTHORIZED = {"orderId": ORDER, "merchant": "shop", "currency": "USD", "value": 30_000, "payments": CARDS}
INVOICE = {"orderId": ORDER, "type": "Output", "invoiceNumber": "n", "invoiceValue": 1,
           "issuanceDate": "2026-01-15T12:00:00Z"}  # fmt: skip
CHANGE = {"orderId": ORDER, "requestId": "c", "reason": "r", "discountValue": 1, "incrementValue": 0}
CANCEL = {"orderId": ORDER, "reason": "r"}
AUTO = {"orderId": ORDER, "paymentId": "known.p1", "settleId": "s", "value": 1}
TRACKING = {"orderId": ORDER, "invoiceNumber": "n"}
OUTCOME = {"orderId": ORDER, "commandId": "x", "paymentId": "known.p1", "value": 1}

# Type, its data, its fields by what they take.
TYPES: tuple[tuple[str, str, dict[str, Any], dict[str, str]], ...] = (
    ("invoice.issued", INVOICES, INVOICE, {"invoiceValue": "amount", "orderId": "id", "issuanceDate": "time",
                                           "invoiceNumber": "text", "type": "word", "currency": "word?"}),
    ("invoice.tracking_updated", INVOICES, TRACKING, {"orderId": "id", "invoiceNumber": "text",
                                                      "deliveredDate": "time?"}),
    ("order.authorized", CHANGES, AUTHORIZED, {"value": "amount", "orderId": "id", "merchant": "id",
                                               "currency": "word", "payments": "list", "createdAt": "time?"}),
    ("payment.authorized", CHANGES, {"orderId": ORDER, "payment": CARD}, {"orderId": "id", "payment": "list"}),
    ("payment.auto_settled", CHANGES, AUTO, {"value": "amount", "paymentId": "id", "settleId": "id"}),
    ("order.changed", CHANGES, CHANGE, {"discountValue": "amount0", "incrementValue": "amount0", "requestId": "id",
                                        "reason": "text"}),
    ("order.cancel_requested", CHANGES, CANCEL, {"orderId": "id", "reason": "text"}),
    ("command.succeeded", OUTCOMES, OUTCOME, {"orderId": "id", "value": "amount0?", "operationId": "short?"}),
)  # fmt: skip
WRONG: dict[str, list[Any]] = {
    "amount": [
        0,
        -5,
        24.99,
        2**53,
        2**70,
        "0",
        "-1",
        "+1",
        "007",
        "1e3",
        "24.99",
        " 12",
        "12\n",
        "",
        "٣",
        True,
        [],
        {},
    ],
    "amount0": [-1, 0.5, 2**53, "00", "-0", "1.0", "x", False, [1]],
    "amount0?": [-1, 0.5, "1.5", "x", [], {}],
    "id": ["", "x" * 257, 5, True, [], {"a": 1}],
    "short?": ["x" * 257, 5, True, [], {"a": 1}],
    "text": ["", " \t", 7, [], {}],
    "time": ["", "2026-01-15", "2026-02-30T00:00:00Z", "2026-01-15T24:00:00Z", "2026-01-15T12:00Z", "yesterday", 1],
    "time?": ["", "2026-13-01T00:00:00Z", "soon", 5],
    "word": ["", "usd", "EURO", "output", 840, []],
    "word?": ["", "usd", "EURO", 840, []],
    "list": [[], "x", 5, {}, [5], [{}]],
}
MALFORMED = (
    None, b"", b"{", b"nope", b"[1]", b'"text"', b"5", b"null", b"NaN", b'{"orderId": NaN}', b"\xff\xfe\x00{}",
    b'{"orderId": "\\u0000"}', b'{"x": "\\ud800"}', b'{"orderId": "known", "invoiceValue": 007}', b"\0\0\0\0\x07{",
    b"{" * 5_000, b'{"a":' * 5_000, b"\xed\xa0\x80", json.dumps(INVOICE).encode()[:-1], b"\xef\xbb\xbf{}}",
)  # fmt: skip
BAD_HEADERS: tuple[Headers, ...] = (
    [("ce_type", b"")], [("ce_type", b"\xff")], [("ce_type", b"a\0b")], [("ce_specversion", b"1.0")],
    [("ce_type", None), ("x", None)], [("ce_specversion", b"1.0"), ("ce_type", None)],
    [("ce_type", b"order.changed"), ("ce_id", b"\xff\xfe")],
)  # fmt: skip
STRANGE_TYPES = ("invoice.shredded", "order.changed ", "ORDER.CHANGED", "com.erp.invoice", "💶", "x" * 300)
# Rules that say no to what can be read. What takes a number or a key here comes in this order.
REFUSED: tuple[tuple[str, str, dict[str, Any], str], ...] = (
    ("invoice.issued", INVOICES, INVOICE | {"invoiceNumber": "first", "currency": "EUR"}, "rejected"),
    ("invoice.issued", INVOICES, INVOICE | {"type": "Input", "invoiceNumber": "r", "invoiceValue": 9_999}, "rejected"),
    ("invoice.issued", INVOICES, INVOICE | {"invoiceNumber": "taken", "invoiceValue": 2}, "conflicting_duplicate"),
    ("invoice.tracking_updated", INVOICES, TRACKING | {"invoiceNumber": "nobody's"}, "rejected"),
    ("order.changed", CHANGES, CHANGE | {"requestId": "all", "discountValue": 30_000}, "rejected"),
    ("order.changed", CHANGES, CHANGE | {"requestId": "nothing", "discountValue": 0}, "rejected"),
    ("order.cancel_requested", CHANGES, CANCEL, "rejected"),
    ("order.authorized", CHANGES, AUTHORIZED | {"value": 9_000}, "conflicting_duplicate"),
    ("payment.authorized", CHANGES, {"orderId": ORDER, "payment": CARD | {"value": 1}}, "conflicting_duplicate"),
    ("payment.authorized", CHANGES, {"orderId": ORDER, "payment": CARD | {"paymentId": "known.p3", "value": MAX_MINOR}},
     "rejected"),
    ("payment.auto_settled", CHANGES, AUTO | {"paymentId": "known.p2", "value": 99_999}, "suspect"),
    ("order.authorized", CHANGES, AUTHORIZED | {"payments": [one | {"value": MAX_MINOR} for one in CARDS]}, "invalid"),
)  # fmt: skip


class Case(Struct, frozen=True):
    """One record and its end."""

    name: str
    topic: str
    value: bytes | None
    headers: Headers
    reason: str


def corpus() -> list[Case]:
    """Every case, with a name that no other has."""
    found = [*_fields(), *_missing(), *_bytes(), *_envelopes(), *_types(), *_refused()]
    assert len({one.name for one in found}) == len(found)
    return found


def _binary(type_: str, data: object) -> tuple[bytes, list[tuple[str, bytes]]]:
    return json.dumps(data).encode(), binary_headers(type_, "id", "2026-01-15T12:00:00Z", source=b"/erp")


def _fields() -> Iterator[Case]:
    for type_, topic, data, fields in TYPES:
        for field, takes in fields.items():
            for number, wrong in enumerate(WRONG[takes]):
                yield Case(f"{type_}: {field} #{number}", topic, *_binary(type_, data | {field: wrong}), "invalid")


def _missing() -> Iterator[Case]:
    for type_, topic, data, fields in TYPES:
        for field in fields:
            if field in data and not fields[field].endswith("?"):
                without = {name: one for name, one in data.items() if name != field}
                yield Case(f"{type_}: no {field}", topic, *_binary(type_, without), "invalid")


def _bytes() -> Iterator[Case]:
    for topic, type_ in ((INVOICES, "invoice.issued"), (CHANGES, "order.changed"), (OUTCOMES, "command.succeeded")):
        for number, value in enumerate(MALFORMED):
            yield Case(f"{topic}: bytes #{number}", topic, value, _binary(type_, {})[1], "malformed")
        big = b'{"orderId": "known", "x": "' + b"x" * VALUE_BYTES_MAX + b'"}'
        yield Case(f"{topic}: a megabyte", topic, big, _binary(type_, {})[1], "too_large")


def _envelopes() -> Iterator[Case]:
    for number, headers in enumerate(BAD_HEADERS):
        yield Case(f"headers #{number}", CHANGES, json.dumps(CHANGE).encode(), headers, "malformed")
    for number, envelope in enumerate((
        {"specversion": "1.0", "data": CHANGE}, {"specversion": "1.0", "type": 7, "data": CHANGE},
        {"specversion": "1.0", "type": "order.changed"}, {"type": "order.changed", "data": CHANGE}, CHANGE,
        {"specversion": "1.0", "type": "order.changed", "data": [CHANGE]},
        {"specversion": "1.0", "type": "order.changed", "data_base64": "no base64"},
        {"specversion": "1.0", "type": "order.changed", "data_base64": "bm90IEpTT04="},
    )):  # fmt: skip
        yield Case(f"envelope #{number}", CHANGES, json.dumps(envelope).encode(), [], "malformed")


def _types() -> Iterator[Case]:
    for type_ in STRANGE_TYPES:
        for topic in (INVOICES, CHANGES, OUTCOMES):
            yield Case(f"{topic}: {type_[:20]}", topic, *_binary(type_, INVOICE), "unknown_type")
    for type_, topic in (("order.changed", INVOICES), ("invoice.issued", CHANGES), ("command.settle", OUTCOMES)):
        yield Case(f"{type_} on {topic}", topic, *_binary(type_, INVOICE), "unknown_type")


def _refused() -> Iterator[Case]:
    for number, (type_, topic, data, reason) in enumerate(REFUSED):
        yield Case(f"{type_}: refused #{number}", topic, *_binary(type_, data), reason)
