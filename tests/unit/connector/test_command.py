"""The body of each request is what the PPP document asks for, to the digit."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from worker.connector.command import OPERATIONS, Command, body
from worker.connector.file import Connector
from worker.domain.money import EXPONENTS, MAX_MINOR
from worker.domain.order import Operation

DOCUMENT = json.loads((Path(__file__).parent / "ppp.openapi.json").read_text())
SCHEMAS = {"settle": "SettlePayment", "refund": "RefundPayment", "cancel": "CancelPaymentRequest"}
ACME = Connector(name="acme", url="http://a", protocol="ppp", mode="PARTIAL")


def command(**changed: Any) -> Command:
    data = {
        "commandId": "c1", "requestId": "r1", "orderId": "o1", "paymentId": "p1", "transactionId": "t1",
        "authorizationId": "a1", "connector": "acme", "merchant": "m", "currency": "USD", "value": 61400, "sequence": 1,
        "settleId": "s1",
    }  # fmt: skip
    return msgspec.convert({**data, **changed}, Command)


def sent(operation: Operation, request: Command, connector: Connector = ACME) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(body(operation, request, connector), parse_float=Decimal)
    return content


RECIPIENT = {
    "id": "seller", "name": "Seller", "documentType": "CNPJ", "document": "1", "role": "seller", "amount": 61400,
    "commissionAmount": 5,
}  # fmt: skip


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("more", [{}, {"tid": "T", "nsu": "N"}, {"recipients": [RECIPIENT]}])
def test_every_request_matches_the_openapi_document(operation: Operation, more: dict[str, Any]):
    schema = DOCUMENT["components"]["schemas"][SCHEMAS[operation]]

    content = sent(operation, command(**more))

    Draft202012Validator(schema).validate(json.loads(json.dumps(content, default=float)))
    assert set(content) <= set(schema["properties"])


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("currency", sorted(EXPONENTS))
@pytest.mark.parametrize("unit", ["minor", "major"])
def test_every_request_of_every_currency_matches_the_openapi_document(operation: Operation, currency: str, unit: str):
    schema = Draft202012Validator(DOCUMENT["components"]["schemas"][SCHEMAS[operation]])
    connector = msgspec.structs.replace(ACME, cancel_unit=unit)

    for value in (1, 99, 61_400, MAX_MINOR):
        request = command(currency=currency, value=value, recipients=[{**RECIPIENT, "amount": value}])
        schema.validate(json.loads(json.dumps(sent(operation, request, connector), default=float)))


@pytest.mark.parametrize(
    ("currency", "minor", "digits"),
    [
        ("USD", 61400, "614.00"), ("USD", 1, "0.01"), ("USD", 65, "0.65"), ("BRL", 6803, "68.03"), ("JPY", 5, "5"),
        ("CLF", 12345, "1.2345"),
        ("KWD", 1234, "1.234"), ("USD", MAX_MINOR, "90071992547409.91"), ("KWD", MAX_MINOR, "9007199254740.991"),
        ("JPY", MAX_MINOR, "9007199254740991"),
    ],
)  # fmt: skip
def test_amounts_are_written_from_digits(currency: str, minor: int, digits: str):
    request = command(currency=currency, value=minor)

    for operation in ("settle", "refund"):
        assert f'"value":{digits}'.encode() in body(operation, request, ACME)
    assert f'"value":{minor}'.encode() in body("cancel", request, ACME)


@given(st.sampled_from(sorted(EXPONENTS)), st.integers(1, MAX_MINOR))
def test_no_amount_of_any_currency_loses_a_digit(currency: str, minor: int):
    content = sent("settle", command(currency=currency, value=minor))

    assert Decimal(content["value"]).scaleb(EXPONENTS[currency]) == minor


def test_a_cancel_may_be_requested_in_major_units():
    major = msgspec.structs.replace(ACME, cancel_unit="major")

    assert b'"value":614.00' in body("cancel", command(), major)


def test_a_refund_without_a_tid_carries_an_empty_one():
    assert sent("refund", command())["tid"] == ""
    assert "tid" not in sent("settle", command())
    assert sent("refund", command(tid="T"))["tid"] == "T"


def test_only_settles_carry_recipients_in_major_units():
    request = command(recipients=[{**RECIPIENT, "chargebackLiable": True}])

    (share,) = sent("settle", request)["recipients"]

    assert (share["amount"], share["commissionAmount"]) == (Decimal("614.00"), Decimal("0.05"))
    assert share["chargebackLiable"] is True
    assert "chargeProcessingFee" not in share
    assert "recipients" not in sent("refund", request)
    assert "recipients" not in sent("cancel", request)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_attempt_of_a_command_sends_the_same_bytes(operation: Operation):
    first, again = command(recipients=[RECIPIENT]), command(recipients=[RECIPIENT])

    assert body(operation, first, ACME) == body(operation, again, ACME)


@pytest.mark.parametrize(
    "wrong", [{"value": 0}, {"value": -1}, {"value": 1.5}, {"value": "5"}, {"value": MAX_MINOR + 1}, {"value": True},
              {"sequence": 0}, {"paymentId": ""}, {"requestId": "x" * 257}, {"currency": "XYZ"}]
)  # fmt: skip
def test_an_invalid_command_is_refused(wrong: dict[str, Any]):
    with pytest.raises(msgspec.ValidationError):
        command(**wrong)
