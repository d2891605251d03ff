"""Record values become facts, or refusals that name the field and the rule."""

import json
from typing import Any

import pytest

from worker.domain.facts import Fact, InvoiceIssued, OrderAuthorized, OrderChanged, OutcomeReported, TrackingUpdated
from worker.kafka import names
from worker.kafka.envelope import Unreadable, binary_headers
from worker.kafka.records import Record
from worker.ledger.reading import Readable, read_fact

INVOICE = {"orderId": "o", "type": "Output", "invoiceNumber": "1", "invoiceValue": 100,
           "issuanceDate": "2026-01-15T12:00:00-03:00"}  # fmt: skip
CHANGE = {"orderId": "o", "requestId": "c", "reason": "r", "discountValue": 0, "incrementValue": 5}
PAYMENT = {"paymentId": "p", "transactionId": "T", "authorizationId": "A", "connector": "c1", "value": 100}
ORDER = {"orderId": "o", "merchant": "m", "currency": "USD", "value": 100, "payments": [PAYMENT]}
RECIPIENT = {"id": "r1", "name": "n", "documentType": "cnpj", "document": "1", "role": "seller", "amount": 100}
TOPIC = {"invoice": names.INVOICES, "order": names.ORDER_CHANGES, "payment": names.ORDER_CHANGES,
         "command": names.OUTCOMES}  # fmt: skip


def read(kind: str, data: Any = None, raw: bytes | None = None, topic: str | None = None) -> Readable | Unreadable:
    value = json.dumps(data).encode() if raw is None else raw
    headers = binary_headers(kind, "id", "2026-01-15T12:00:00Z", "00-trace")
    return read_fact(Record(topic or TOPIC[kind.split(".", 1)[0]], 0, 0, None, value, headers, 0))


def fact(kind: str, data: Any) -> Fact:
    readable = read(kind, data)
    assert isinstance(readable, Readable), readable
    assert readable.traceparent == "00-trace"
    return readable.fact


def refusal(kind: str, data: Any = None, raw: bytes | None = None) -> tuple[str, str]:
    unreadable = read(kind, data, raw)
    assert isinstance(unreadable, Unreadable), unreadable
    return unreadable.reason, unreadable.message


def without(data: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != name}


@pytest.mark.parametrize("value", [1, "1", 9007199254740991, "9007199254740991"])
def test_a_value_is_an_integer_or_its_digits(value: int | str):
    invoice = fact("invoice.issued", INVOICE | {"invoiceValue": value})
    assert isinstance(invoice, InvoiceIssued)
    assert invoice.invoice_value == int(value)


@pytest.mark.parametrize("value", ["0", "-5", "24.99", "12.0", '""', '"24.99"', '"1e3"', "1e3", "true", "null", "{}",
                                   "[]", "9007199254740992", '"9007199254740992"', '"007"', '"12\\n"', '" 12"', '"٣"',
                                   "1e400", "9" * 5000, "123456789012345678901234567890", '"-1"', '"+1"', "-0",
                                   "1.0e2"])  # fmt: skip
def test_any_other_value_is_invalid_and_names_the_field(value: str):
    raw = json.dumps(INVOICE | {"invoiceValue": 0}).replace('"invoiceValue": 0', f'"invoiceValue": {value}').encode()
    reason, message = refusal("invoice.issued", raw=raw)
    assert reason == "invalid"
    assert message.startswith("invoiceValue: ")


@pytest.mark.parametrize("value", [7, 1.5, None, True, {}, [], "", "x" * 5_000])
def test_a_tracking_field_of_an_invoice_that_is_no_short_text_is_not_kept_and_refuses_nothing(value: object):
    invoice = fact("invoice.issued", INVOICE | {"courier": value, "trackingNumber": value, "trackingUrl": value})

    assert isinstance(invoice, InvoiceIssued)
    assert invoice.tracking is None


@pytest.mark.parametrize("raw", [b"{", b"", b"nope", b"[1]", b'"x"', b"5", b"null", b"NaN", b'{"a": NaN}',
                                 b"\xff\xfe\x00", json.dumps(INVOICE | {"x": float("nan")}).encode(),
                                 json.dumps(INVOICE).encode()[:-1], json.dumps(INVOICE).encode() + b"x",
                                 b'{"invoiceValue": "x", "y": tru}', b"[" * 100_000, b'{"a":' + b"[" * 5000 + b"}",
                                 b'{"orderId": "\\u0000"}', b'{"x": "\\ud800"}', b'{"invoiceValue": 007}'])  # fmt: skip
def test_data_that_is_not_a_json_object_is_malformed(raw: bytes):
    assert refusal("invoice.issued", raw=raw)[0] == "malformed"


def test_data_that_is_not_json_is_refused_in_one_sentence():
    assert refusal("invoice.issued", raw=b'{"a": NaN}')[1] == "the data is not JSON: NaN is not a number"
    assert refusal("invoice.issued", raw=b"[1]")[1] == "the data is not a JSON object"


@pytest.mark.parametrize("name", ["orderId", "type", "invoiceNumber", "invoiceValue", "issuanceDate"])
def test_a_missing_field_of_an_invoice_is_named(name: str):
    assert refusal("invoice.issued", without(INVOICE, name)) == ("invalid", f"{name}: is required (R9)")
    assert refusal("invoice.issued", INVOICE | {name: None})[1].startswith(f"{name}: ")


@pytest.mark.parametrize(("field", "value"), [
    ("orderId", ""), ("orderId", "x" * 257), ("orderId", 5), ("type", "output"), ("type", 1), ("invoiceNumber", ""),
    ("invoiceNumber", "  \t"), ("invoiceNumber", "n" * 257), ("invoiceNumber", 7), ("currency", "EURO"),
    ("currency", "usd"), ("currency", ""), ("currency", 840), ("issuanceDate", ""), ("issuanceDate", "yesterday"),
    ("issuanceDate", "2026-01-15"), ("issuanceDate", "2026-02-30T00:00:00Z"), ("issuanceDate", "2026-01-15T25:00:00Z"),
    ("issuanceDate", "2026-01-15T12:00Z"), ("issuanceDate", "2026-01-15T12:00:00+0300"), ("issuanceDate", 1768478400),
    ("issuanceDate", "2026-01-15T12:00:00Z\n"), ("issuanceDate", "2026-01-15T12:00:00+02:60"),
    ("issuanceDate", "2026-01-15T12:00:00-24:00"), ("dispatchedDate", "soon"),
])  # fmt: skip
def test_an_invalid_field_of_an_invoice_is_named(field: str, value: object):
    reason, message = refusal("invoice.issued", INVOICE | {field: value})
    assert reason == "invalid"
    assert message.startswith(f"{field}: ")


@pytest.mark.parametrize("informational", [
    {"items": "x"}, {"items": [{"id": None, "price": -1.5}, 7]}, {"items": None}, {"invoiceKey": 5}, {"courier": {}},
    {"trackingNumber": 12}, {"embeddedInvoice": ["<xml/>"]}, {"currency": None}, {"dispatchedDate": None}, {"cfop": 1},
])  # fmt: skip
def test_informational_fields_may_have_any_value(informational: dict[str, Any]):
    assert fact("invoice.issued", INVOICE | informational) == fact("invoice.issued", INVOICE)


@pytest.mark.parametrize(("kind", "fields", "kept"), [
    ("invoice.issued", '"items": [ {"id":"7", "price":1e999}, null ]', '{"items":[ {"id":"7", "price":1e999}, null ]}'),
    ("invoice.issued", '"items": "n\\u00f6ne"', '{"items":"n\\u00f6ne"}'),
    ("invoice.issued", '"item": []', None),
    ("order.changed", '"itemsAdded": [1.50]', '{"itemsAdded":[1.50]}'),
    ("order.changed", '"itemsRemoved": [2], "itemsAdded": null', '{"itemsAdded":null,"itemsRemoved":[2]}'),
    ("order.cancel_requested", '"items": [1]', None),
])  # fmt: skip
def test_lists_of_items_are_read_as_they_came(kind: str, fields: str, kept: str | None):
    known = {"invoice.issued": INVOICE, "order.changed": CHANGE, "order.cancel_requested": CHANGE}[kind]
    readable = read(kind, raw=f"{json.dumps(known)[:-1]}, {fields}}}".encode())
    assert isinstance(readable, Readable), readable
    assert readable.items == kept


def test_each_cap_and_the_sum_of_authorized_amounts_may_reach_the_largest_amount() -> None:
    unlimited = PAYMENT | {"maxValue": 2**53 - 1}
    other = unlimited | {"paymentId": "q"}

    assert isinstance(fact("order.authorized", ORDER | {"payments": [unlimited, other]}), OrderAuthorized)
    assert refusal("order.authorized", ORDER | {"payments": [unlimited, other | {"value": 2**53 - 100}]}) == (
        "invalid", "payments: together at most 9007199254740991 can be authorized (R9)",
    )  # fmt: skip


def test_the_caps_of_all_payments_sum_to_a_number_that_a_message_can_have() -> None:
    unlimited = [PAYMENT | {"paymentId": str(number), "maxValue": 2**53 - 1} for number in range(1025)]

    assert isinstance(fact("order.authorized", ORDER | {"payments": unlimited[:1024]}), OrderAuthorized)
    assert refusal("order.authorized", ORDER | {"payments": unlimited}) == (
        "invalid", "payments: their caps sum to at most 9223372036854775807 (R9)",
    )  # fmt: skip


def test_an_invoice_number_loses_its_outer_blanks():
    invoice = fact("invoice.issued", INVOICE | {"invoiceNumber": " A 1/#é\t"})
    assert isinstance(invoice, InvoiceIssued)
    assert invoice.invoice_number == "A 1/#é"
    assert isinstance(fact("invoice.issued", INVOICE | {"invoiceNumber": " " + "n" * 256}), InvoiceIssued)


@pytest.mark.parametrize(("text", "expected_ms"), [
    ("1970-01-01T00:00:00Z", 0), ("1970-01-01T00:00:00", 0), ("1970-01-01t00:00:00z", 0),
    ("1970-01-01 03:00:00+03:00", 0), ("1970-01-01T00:00:00.5Z", 500), ("1970-01-01T00:00:00.1239999999Z", 123),
    ("1969-12-31T23:59:60Z", 0), ("2026-01-15T12:00:00-03:00", 1768489200000),
    ("9999-12-31T23:59:59-23:59", 253402387139000), ("0001-01-01T00:00:00+23:59", -62135683140000),
])  # fmt: skip
def test_a_time_is_rfc_3339_and_utc_unless_it_has_an_offset(text: str, expected_ms: int):
    order = fact("order.authorized", ORDER | {"payments": [PAYMENT | {"expiresAt": text}]})
    assert isinstance(order, OrderAuthorized)
    assert order.payments[0].expires_at_ms == expected_ms


@pytest.mark.parametrize(("change", "field"), [
    ({"payments": []}, "payments"), ({"payments": [PAYMENT, PAYMENT]}, "payments"), ({"payments": None}, "payments"),
    ({"payments": [PAYMENT | {"value": 0}]}, "payments[0].value"), ({"currency": "XXX"}, "currency"),
    ({"payments": [without(PAYMENT, "connector")]}, "payments[0].connector"), ({"merchant": ""}, "merchant"),
    ({"payments": [PAYMENT | {"referenceValue": 0}]}, "payments[0].referenceValue"), ({"value": 0}, "value"),
    ({"payments": [PAYMENT | {"expiresAt": "never"}]}, "payments[0].expiresAt"), ({"createdAt": "x"}, "createdAt"),
    ({"payments": [PAYMENT | {"recipients": [RECIPIENT | {"amount": 99}]}]}, "payments[0].recipients"),
    ({"payments": [PAYMENT | {"recipients": [RECIPIENT | {"amount": -1}]}]}, "payments[0].recipients[0].amount"),
    ({"payments": [PAYMENT | {"recipients": [RECIPIENT | {"name": "n" * 4097}]}]}, "payments[0].recipients[0].name"),
    ({"payments": [PAYMENT | {"recipients": [RECIPIENT | {"role": "r" * 257}]}]}, "payments[0].recipients[0].role"),
    ({"payments": [PAYMENT | {"maxValue": -1}]}, "payments[0].maxValue"),
    ({"payments": [PAYMENT | {"tid": 5}]}, "payments[0].tid"),
])  # fmt: skip
def test_an_invalid_authorization_names_the_payment_and_the_field(change: dict[str, Any], field: str):
    reason, message = refusal("order.authorized", ORDER | change)
    assert reason == "invalid"
    assert message.startswith(field), message


def test_missing_fields_of_a_payment_have_their_defaults():
    optional = {"referenceValue": None, "maxValue": 5, "tid": "", "nsu": None, "group": None, "recipients": None}
    order = fact("order.authorized", ORDER | {"payments": [PAYMENT | optional]})
    assert isinstance(order, OrderAuthorized)
    payment = order.payments[0]
    assert (payment.reference_value, payment.max_value) == (100, 100)
    assert (payment.tid, payment.recipients, payment.expires_at_ms) == (None, (), None)
    assert fact("order.authorized", ORDER) == order


def test_every_field_of_a_recipient_is_read():
    recipient = RECIPIENT | {"commissionAmount": "0", "chargeProcessingFee": True}
    order = fact("order.authorized", ORDER | {"payments": [PAYMENT | {"recipients": [recipient]}]})
    assert isinstance(order, OrderAuthorized)
    read_back = order.payments[0].recipients[0]
    assert (read_back.amount, read_back.commission_amount) == (100, 0)
    assert (read_back.charge_processing_fee, read_back.chargeback_liable) == (True, None)


@pytest.mark.parametrize(("items", "changed"), [
    ({}, False), ({"itemsAdded": []}, False), ({"itemsAdded": None}, False), ({"itemsRemoved": "x"}, False),
    ({"itemsAdded": [1]}, True), ({"itemsRemoved": [{"id": 5, "price": {}}]}, True), ({"itemsAdded": {"a": 1}}, False),
])  # fmt: skip
def test_a_change_knows_whether_it_names_items(items: dict[str, Any], changed: bool):
    order_change = fact("order.changed", CHANGE | items)
    assert isinstance(order_change, OrderChanged)
    assert (order_change.items_changed, order_change.discount_value, order_change.increment_value) == (changed, 0, 5)


@pytest.mark.parametrize(("change", "field"), [
    ({"discountValue": -1}, "discountValue"), ({"incrementValue": "00"}, "incrementValue"), ({"reason": ""}, "reason"),
    ({"requestId": ""}, "requestId"), ({"incrementValue": None}, "incrementValue"), ({"reason": None}, "reason"),
])  # fmt: skip
def test_an_invalid_field_of_a_change_is_named(change: dict[str, Any], field: str):
    reason, message = refusal("order.changed", CHANGE | change)
    assert reason == "invalid"
    assert message.startswith(f"{field}: ")


def test_a_tracking_update_keeps_only_the_fields_that_it_names():
    data = {"orderId": "o", "invoiceNumber": " 1", "trackingNumber": "BR", "isDelivered": False, "courier": None}
    assert fact("invoice.tracking_updated", data) == TrackingUpdated(
        order_id="o", invoice_number="1", fields={"trackingNumber": "BR", "isDelivered": False}
    )
    assert refusal("invoice.tracking_updated", data | {"isDelivered": "yes"})[0] == "invalid"
    assert refusal("invoice.tracking_updated", data | {"deliveredDate": "late"})[0] == "invalid"


def test_an_outcome_is_read_as_the_delivery_worker_writes_it():
    data = {"commandId": "c", "requestId": "r", "orderId": "o", "paymentId": "p", "value": 5, "operationId": None,
            "attempts": 2, "at": "2026-01-15T12:00:00Z", "code": None}  # fmt: skip
    assert fact("command.succeeded", data) == OutcomeReported(
        order_id="o",
        outcome="succeeded",
        command_id="c",
        payment_id="p",
        value=5,
        attempts=2,
        at="2026-01-15T12:00:00Z",
    )
    given_up = {"orderId": "o", "commandId": None, "invoiceNumber": "1", "value": None, "by": "Ann", "reason": "r"}
    assert fact("command.abandoned", given_up) == OutcomeReported(
        order_id="o", outcome="abandoned", invoice_number="1", by="Ann", reason="r"
    )


@pytest.mark.parametrize(("kind", "topic"), [
    ("invoice.shredded", names.INVOICES), ("order.authorized", names.INVOICES), ("invoice.issued", names.ORDER_CHANGES),
    ("command.succeeded", names.INVOICES), ("command.settle", names.OUTCOMES),
])  # fmt: skip
def test_a_type_that_does_not_belong_to_its_topic_is_unknown(kind: str, topic: str):
    unreadable = read(kind, INVOICE, topic=topic)
    assert isinstance(unreadable, Unreadable)
    assert unreadable.reason == "unknown_type"
    assert unreadable.message == f"{topic} has no messages of type {kind!r}"
