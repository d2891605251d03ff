"""Input messages as the contract defines them. Only what is needed has a type; the rest may be anything (R10, R17)."""

from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct

from worker.domain.money import MAX_MINOR

CHARACTERS_MAX = 256
TEXT_CHARACTERS_MAX = 4096

Id = Annotated[str, Meta(min_length=1, max_length=CHARACTERS_MAX)]
Short = Annotated[str, Meta(max_length=CHARACTERS_MAX)]
Text = Annotated[str, Meta(max_length=TEXT_CHARACTERS_MAX)]  # is sent on to the connector
# R9: a JSON integer, or its digits as a string; `\Z`, since `$` would let a line feed pass.
Amount = Annotated[int, Meta(ge=1, le=MAX_MINOR)] | Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,15}\Z")]
AmountOrZero = Annotated[int, Meta(ge=0, le=MAX_MINOR)] | Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,15})\Z")]

NOTHING = Raw()


class Message(Struct, frozen=True, rename="camel", kw_only=True, gc=False):
    """The data of one input message. Unknown fields are ignored; an optional field that is null is absent."""


class RecipientMessage(Message, frozen=True, kw_only=True):
    id: Id
    name: Text
    document_type: Short
    document: Short
    role: Short
    amount: AmountOrZero
    charge_processing_fee: bool | None = None
    chargeback_liable: bool | None = None
    commission_amount: AmountOrZero | None = None


class PaymentMessage(Message, frozen=True, kw_only=True):
    payment_id: Id
    transaction_id: Id
    authorization_id: Id
    connector: Id
    value: Amount
    reference_value: Amount | None = None
    max_value: AmountOrZero | None = None
    tid: Short | None = None
    nsu: Short | None = None
    group: Short | None = None
    authorized_at: str | None = None
    expires_at: str | None = None
    recipients: list[RecipientMessage] | None = None


class OrderAuthorizedMessage(Message, frozen=True, kw_only=True):
    order_id: Id
    merchant: Id
    currency: str
    value: Amount
    payments: Annotated[list[PaymentMessage], Meta(min_length=1)]
    created_at: str | None = None


class PaymentAuthorizedMessage(Message, frozen=True, kw_only=True):
    order_id: Id
    payment: PaymentMessage


class PaymentAutoSettledMessage(Message, frozen=True, kw_only=True):
    order_id: Id
    payment_id: Id
    settle_id: Id
    value: Amount


class OrderChangedMessage(Message, frozen=True, kw_only=True):
    order_id: Id
    request_id: Id
    reason: str
    discount_value: AmountOrZero
    increment_value: AmountOrZero
    items_added: Raw = NOTHING
    items_removed: Raw = NOTHING


class CancelRequestedMessage(Message, frozen=True, kw_only=True):
    order_id: Id
    reason: str


class InvoiceIssuedMessage(Message, frozen=True, kw_only=True):
    order_id: Id
    type: Literal["Output", "Input"]
    invoice_number: str
    invoice_value: Amount
    issuance_date: str
    currency: str | None = None
    dispatched_date: str | None = None
    courier: Raw = NOTHING
    tracking_number: Raw = NOTHING
    tracking_url: Raw = NOTHING
    items: Raw = NOTHING


class TrackingUpdatedMessage(Message, frozen=True, kw_only=True):
    order_id: Id
    invoice_number: str
    tracking_number: str | None = None
    tracking_url: str | None = None
    courier: str | None = None
    dispatched_date: str | None = None
    is_delivered: bool | None = None
    delivered_date: str | None = None


class OutcomeMessage(Message, frozen=True, kw_only=True):
    """Written by the delivery worker, and by nobody else."""

    order_id: Id
    command_id: Short | None = None
    payment_id: Short | None = None
    value: AmountOrZero | None = None
    operation_id: Short | None = None  # becomes part of a key of the captures, and keys have a size limit
    code: str | None = None
    message: str | None = None
    attempts: int | None = None
    at: str | None = None
    by: str | None = None
    reason: str | None = None
    invoice_number: str | None = None
    settle_id: str | None = None
