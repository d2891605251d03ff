"""A command as read from its topic, and the request body for the connector."""

from typing import Annotated, Any, get_args

import msgspec
from msgspec import Meta, Struct

from worker.connector.file import Connector
from worker.domain.money import EXPONENTS, MAX_MINOR, to_major
from worker.domain.order import Operation

OPERATIONS: tuple[Operation, ...] = get_args(Operation)
Id = Annotated[str, Meta(min_length=1, max_length=256)]
Text = Annotated[str, Meta(max_length=4096)]
Amount = Annotated[int, Meta(ge=1, le=MAX_MINOR)]
Share = Annotated[int, Meta(ge=0, le=MAX_MINOR)]

_ACTIONS: dict[Operation, str] = {"settle": "settlements", "refund": "refunds", "cancel": "cancellations"}
ID_FIELDS: dict[Operation, str] = {"settle": "settleId", "refund": "refundId", "cancel": "cancellationId"}


class Recipient(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """One party of a split settle; amounts in minor units."""

    id: Text
    name: Text
    document_type: Text
    document: Text
    role: Text
    amount: Share
    charge_processing_fee: bool | None = None
    chargeback_liable: bool | None = None
    commission_amount: Share | None = None


class Command(Struct, frozen=True, kw_only=True, rename="camel"):
    """One amount that a connector is asked to settle, refund or cancel on one payment."""

    command_id: Id
    request_id: Id
    order_id: Id
    payment_id: Id
    transaction_id: Id
    authorization_id: Id
    connector: Id
    merchant: Text = ""
    currency: str
    value: Amount
    sequence: Annotated[int, Meta(ge=1, le=MAX_MINOR)]
    settle_id: Id | None = None
    retry_of: Id | None = None
    tid: Text | None = None
    nsu: Text | None = None
    recipients: tuple[Recipient, ...] | None = None

    def __post_init__(self) -> None:
        if self.currency not in EXPONENTS:
            raise ValueError(f"currency {self.currency!r} is unknown")


decode_command = msgspec.json.Decoder(Command).decode


def action(operation: Operation) -> str:
    """The last part of the call's path."""
    return _ACTIONS[operation]


def body(operation: Operation, command: Command, connector: Connector) -> bytes:
    """The request's JSON. Amounts are written as digits, never as floats; a command always gives the same bytes."""
    major = to_major(command.value, command.currency)
    fields: dict[str, Any] = {
        "requestId": command.request_id,
        "paymentId": command.payment_id,
        "transactionId": command.transaction_id,
        "authorizationId": command.authorization_id,
    }
    match operation:
        case "settle":
            fields |= {"value": _digits(major), "tid": command.tid, "nsu": command.nsu}
            if command.recipients:
                fields["recipients"] = [_recipient(one, command.currency) for one in command.recipients]
        case "refund":
            settle_id = command.settle_id or ""
            fields |= {"settleId": settle_id, "value": _digits(major), "tid": command.tid or "", "nsu": command.nsu}
        case "cancel":
            value = major if connector.cancel_unit == "major" else str(command.value)
            fields |= {"value": _digits(value), "tid": command.tid, "nsu": command.nsu}
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})


def _digits(number: str) -> msgspec.Raw:
    return msgspec.Raw(number.encode())


def _recipient(one: Recipient, currency: str) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": one.id, "name": one.name, "documentType": one.document_type, "document": one.document, "role": one.role,
        "chargeProcessingFee": one.charge_processing_fee, "chargebackLiable": one.chargeback_liable,
        "amount": _digits(to_major(one.amount, currency)),
    }  # fmt: skip
    if one.commission_amount is not None:
        fields["commissionAmount"] = _digits(to_major(one.commission_amount, currency))
    return {name: value for name, value in fields.items() if value is not None}
