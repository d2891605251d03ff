"""Turns the data of a message into a typed fact, or into a refusal that names the field and the rule (R9)."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar, get_args

import msgspec
from msgspec import Raw

from worker.domain.facts import (
    Authorization,
    CancelRequested,
    Fact,
    InvoiceIssued,
    OrderAuthorized,
    OrderChanged,
    OutcomeKind,
    OutcomeReported,
    PaymentAuthorized,
    PaymentAutoSettled,
    Recipient,
    TrackingUpdated,
)
from worker.domain.money import EXPONENTS, MAX_MINOR, MAX_SUM
from worker.kafka import names
from worker.kafka.envelope import Event, Unreadable, read_event
from worker.kafka.records import Record
from worker.ledger.problems import Invalid, explain
from worker.ledger.wire import (
    CHARACTERS_MAX,
    NOTHING,
    TEXT_CHARACTERS_MAX,
    CancelRequestedMessage,
    InvoiceIssuedMessage,
    Message,
    OrderAuthorizedMessage,
    OrderChangedMessage,
    OutcomeMessage,
    PaymentAuthorizedMessage,
    PaymentAutoSettledMessage,
    PaymentMessage,
    TrackingUpdatedMessage,
)

_RFC_3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]((?:[01][0-9]|2[0-3]):[0-5][0-9]:)([0-9]{2})(\.[0-9]+)?"
    r"([Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])?"
)
DIGITS_MAX = 100

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LEAP_SECOND = "60"

Wire = TypeVar("Wire", bound=Message)


class Readable(msgspec.Struct, frozen=True, gc=False):
    """The fact in a record, and the trace it belongs to."""

    fact: Fact
    traceparent: str | None
    items: str | None = None
    """The lists of items that came with it, in one JSON object: kept, and never looked at (R10, R17)."""


def read_fact(record: Record) -> Readable | Unreadable:
    """The fact in a record. Never raises: whatever cannot be a fact has a reason code and a message."""
    event = read_event(record)
    if isinstance(event, Unreadable):
        return event
    reader = _READERS.get((record.topic, event.type))
    if reader is None:
        return Unreadable("unknown_type", f"{record.topic} has no messages of type {event.type!r}")
    try:
        return reader.read(event)
    except Invalid as problem:
        return Unreadable("invalid", str(problem))
    except (msgspec.DecodeError, RecursionError) as problem:
        return _unreadable(event, reader, problem)


def _unreadable(event: Event, reader: "_Reader", problem: Exception) -> Unreadable:
    """A wrong type is `invalid` only if all of the data is JSON, and an object; else the data is `malformed`."""
    try:
        data = json.loads(bytes(event.data), parse_constant=_refuse_constant, parse_int=_short_int)
    except (ValueError, RecursionError) as worse:
        return Unreadable("malformed", f"the data is not JSON: {worse}")
    if not isinstance(data, dict):
        return Unreadable("malformed", "the data is not a JSON object")
    if isinstance(problem, msgspec.ValidationError):
        return Unreadable("invalid", explain(problem))
    try:
        msgspec.convert(data, reader.wire)  # a number too large for a float is JSON; this finds its field
    except msgspec.ValidationError as found:
        return Unreadable("invalid", explain(found))
    return Unreadable("malformed", f"the data cannot be read: {problem}")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _short_int(digits: str) -> int:
    """An integer that is far too large is not computed: any other that is too large does as well."""
    return int(digits) if len(digits) <= DIGITS_MAX else 10**DIGITS_MAX


def _order_authorized(data: OrderAuthorizedMessage) -> Fact:
    _time("createdAt", data.created_at)
    payments = tuple(_authorization(f"payments[{place}].", one) for place, one in enumerate(data.payments))
    if len({one.payment_id for one in payments}) < len(payments):
        raise Invalid("payments: a paymentId stands twice in one order")
    if sum(one.most for one in payments) > MAX_MINOR:
        raise Invalid(f"payments: together at most {MAX_MINOR} can be authorized (R9)")
    if sum(one.max_value for one in payments) > MAX_SUM:
        raise Invalid(f"payments: their caps sum to at most {MAX_SUM} (R9)")
    return OrderAuthorized(
        order_id=data.order_id, merchant=data.merchant, currency=_currency(data.currency),
        value=_amount("value", data.value), payments=payments,
    )  # fmt: skip


def _payment_authorized(data: PaymentAuthorizedMessage) -> Fact:
    return PaymentAuthorized(order_id=data.order_id, payment=_authorization("payment.", data.payment))


def _authorization(path: str, data: PaymentMessage) -> Authorization:
    value = _amount(f"{path}value", data.value)
    _time(f"{path}authorizedAt", data.authorized_at)
    recipients = _recipients(path, data)
    if recipients and sum(one.amount for one in recipients) != value:
        raise Invalid(f"{path}recipients: their amounts must sum to the payment's value, {value}")
    return Authorization(
        payment_id=data.payment_id, transaction_id=data.transaction_id, authorization_id=data.authorization_id,
        connector=data.connector, value=value,
        reference_value=_amount(f"{path}referenceValue", data.reference_value) if data.reference_value else value,
        max_value=max(value, _amount(f"{path}maxValue", data.max_value) if data.max_value else value),
        tid=data.tid or None, nsu=data.nsu or None, group=data.group or None,
        expires_at_ms=_time(f"{path}expiresAt", data.expires_at), recipients=recipients,
    )  # fmt: skip


def _recipients(path: str, data: PaymentMessage) -> tuple[Recipient, ...]:
    if not data.recipients:
        return ()
    return tuple(
        Recipient(
            id=one.id, name=one.name, document_type=one.document_type, document=one.document, role=one.role,
            amount=_amount(f"{path}recipients[{place}].amount", one.amount),
            commission_amount=None if one.commission_amount is None
            else _amount(f"{path}recipients[{place}].commissionAmount", one.commission_amount),
            charge_processing_fee=one.charge_processing_fee, chargeback_liable=one.chargeback_liable,
        )
        for place, one in enumerate(data.recipients)
    )  # fmt: skip


def _auto_settled(data: PaymentAutoSettledMessage) -> Fact:
    return PaymentAutoSettled(
        order_id=data.order_id, payment_id=data.payment_id, settle_id=data.settle_id,
        value=_amount("value", data.value),
    )  # fmt: skip


def _order_changed(data: OrderChangedMessage) -> Fact:
    _not_empty("reason", data.reason)
    return OrderChanged(
        order_id=data.order_id, request_id=data.request_id,
        discount_value=_amount("discountValue", data.discount_value),
        increment_value=_amount("incrementValue", data.increment_value),
        items_changed=_names_items(data.items_added) or _names_items(data.items_removed),
    )  # fmt: skip


def _cancel_requested(data: CancelRequestedMessage) -> Fact:
    return CancelRequested(order_id=data.order_id, reason=_not_empty("reason", data.reason))


def _invoice_issued(data: InvoiceIssuedMessage) -> Fact:
    _time("issuanceDate", data.issuance_date)
    _time("dispatchedDate", data.dispatched_date)
    return InvoiceIssued(
        order_id=data.order_id, type=data.type, invoice_number=_number(data.invoice_number),
        invoice_value=_amount("invoiceValue", data.invoice_value),
        currency=None if data.currency is None else _currency(data.currency), tracking=_first_tracking(data),
    )  # fmt: skip


def _first_tracking(data: InvoiceIssuedMessage) -> dict[str, str | bool] | None:
    """The tracking fields that came with an invoice. They never make it invalid: one that is no text is not kept."""
    given = ("courier", data.courier), ("trackingNumber", data.tracking_number), ("trackingUrl", data.tracking_url)
    found: dict[str, str | bool] = {
        name: text for name, value in given if value is not NOTHING and (text := _text(value))
    }  # fmt: skip
    if data.dispatched_date is not None:
        found["dispatchedDate"] = data.dispatched_date
    return found or None


def _text(value: Raw) -> str | None:
    content = bytes(value).strip()
    return str(msgspec.json.decode(content)) if content[:1] == b'"' and len(content) <= TEXT_CHARACTERS_MAX else None


def _tracking_updated(data: TrackingUpdatedMessage) -> Fact:
    _time("dispatchedDate", data.dispatched_date)
    _time("deliveredDate", data.delivered_date)
    given: dict[str, str | bool | None] = {
        "trackingNumber": _within("trackingNumber", data.tracking_number), "trackingUrl": data.tracking_url,
        "courier": data.courier, "dispatchedDate": data.dispatched_date, "isDelivered": data.is_delivered,
        "deliveredDate": data.delivered_date,
    }  # fmt: skip
    return TrackingUpdated(
        order_id=data.order_id, invoice_number=_number(data.invoice_number),
        fields={name: value for name, value in given.items() if value is not None},
    )  # fmt: skip


def _outcome(kind: OutcomeKind) -> Callable[[OutcomeMessage], Fact]:
    def reported(data: OutcomeMessage) -> Fact:
        return OutcomeReported(
            order_id=data.order_id, outcome=kind, command_id=data.command_id or "", payment_id=data.payment_id or "",
            value=_amount("value", data.value) if data.value else 0, operation_id=data.operation_id,
            code=data.code, message=data.message, attempts=data.attempts or 0, at=data.at or "", by=data.by,
            reason=data.reason, invoice_number=data.invoice_number, settle_id=data.settle_id,
        )  # fmt: skip

    return reported


def _amount(field: str, value: int | str) -> int:
    amount = int(value)
    if amount > MAX_MINOR:
        raise Invalid(f"{field}: at most {MAX_MINOR} is a value (R9)")
    return amount


def _currency(code: str) -> str:
    if code not in EXPONENTS:
        raise Invalid("currency: must be a code of ISO 4217, such as USD (R9)")
    return code


def _number(number: str) -> str:
    """An invoice's number without its outer blanks (R8)."""
    return _not_empty("invoiceNumber", _within("invoiceNumber", number.strip()) or "")


def _not_empty(field: str, text: str) -> str:
    if not text or text.isspace():
        raise Invalid(f"{field}: must not be empty (R9)")
    return text


def _within(field: str, text: str | None) -> str | None:
    if text is not None and len(text) > CHARACTERS_MAX:
        raise Invalid(f"{field}: must not be longer than {CHARACTERS_MAX} characters (R9)")
    return text


def _time(field: str, text: str | None) -> int | None:
    """Milliseconds since 1970 of a time of RFC 3339; without an offset it is UTC."""
    if text is None:
        return None
    if (found := _RFC_3339.fullmatch(text)) is None:
        raise Invalid(f"{field}: must be a time of RFC 3339, such as 2026-01-15T12:00:00Z (R9)")
    day, clock, seconds, fraction, offset = found.groups()
    leap = seconds == _LEAP_SECOND
    six_digits = (fraction or ".")[1:7].ljust(6, "0")  # which every Python reads alike
    iso = f"{day}T{clock}{'59' if leap else seconds}.{six_digits}{(offset or 'Z').upper()}"
    try:
        elapsed = datetime.fromisoformat(iso) - _EPOCH
    except (ValueError, OverflowError):
        raise Invalid(f"{field}: there is no such time (R9)") from None
    return (elapsed.days * 86_400 + elapsed.seconds + leap) * 1_000 + elapsed.microseconds // 1_000


def read_time(text: str) -> int:
    """Milliseconds since 1970 of a time that one of our workers wrote."""
    found = _time("at", text)
    assert found is not None
    return found


def _kept_items(data: Message, lists: Mapping[str, str]) -> str | None:
    came = {name: bytes(getattr(data, attribute)).decode() for name, attribute in lists.items()}
    kept = ",".join(f'"{name}":{text}' for name, text in came.items() if text)
    return f"{{{kept}}}" if kept else None


def _names_items(items: Raw) -> bool:
    """Whether a list of items has one; what is in them does not matter (R17)."""
    if not bytes(items).lstrip().startswith(b"["):
        return False
    return bool(msgspec.json.decode(items, type=list[Raw]))


class _Reader(msgspec.Struct, frozen=True):
    """How one type of message is read."""

    wire: type[Message]
    read: Callable[[Event], Readable]


def _reader(wire: type[Wire], to_fact: Callable[[Wire], Fact], **lists: str) -> _Reader:
    """`lists`: the lists of items that the message may have, each with its attribute."""
    decode: Callable[[Any], Wire] = msgspec.json.Decoder(wire).decode

    def read_one(event: Event) -> Readable:
        data = decode(event.data)
        return Readable(to_fact(data), event.traceparent, _kept_items(data, lists) if lists else None)

    return _Reader(wire, read_one)


_READERS: dict[tuple[str, str], _Reader] = {
    (names.ORDER_CHANGES, "order.authorized"): _reader(OrderAuthorizedMessage, _order_authorized),
    (names.ORDER_CHANGES, "payment.authorized"): _reader(PaymentAuthorizedMessage, _payment_authorized),
    (names.ORDER_CHANGES, "payment.auto_settled"): _reader(PaymentAutoSettledMessage, _auto_settled),
    (names.ORDER_CHANGES, "order.changed"): _reader(
        OrderChangedMessage, _order_changed, itemsAdded="items_added", itemsRemoved="items_removed"
    ),
    (names.ORDER_CHANGES, "order.cancel_requested"): _reader(CancelRequestedMessage, _cancel_requested),
    (names.INVOICES, "invoice.issued"): _reader(InvoiceIssuedMessage, _invoice_issued, items="items"),
    (names.INVOICES, "invoice.tracking_updated"): _reader(TrackingUpdatedMessage, _tracking_updated),
    **{(names.OUTCOMES, f"command.{kind}"): _reader(OutcomeMessage, _outcome(kind)) for kind in get_args(OutcomeKind)},
}  # fmt: skip
