"""What is published about an order: the data of commands, events and snapshots, as the contract names them."""

from collections.abc import Container, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from worker.domain import lacking
from worker.domain.allocation import room_reference
from worker.domain.decision import Event
from worker.domain.order import Command, Lack, Order, Payment

Json = dict[str, Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# All facts of one poll cycle are decided at the same time.
_CACHED_TIMES_MAX = 1_024
_ATTENTION = frozenset(("manual", "suspect", "unknown"))
_FREEZING = frozenset(("suspect", "unknown"))
_SUMS = ("authorized", "settled", "settling", "refunded", "refunding", "voided", "voiding", "open")


@lru_cache(_CACHED_TIMES_MAX)
def timestamp(at_ms: int) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    return (_EPOCH + timedelta(milliseconds=at_ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def command_message(order: Order, command: Command, at_ms: int) -> Json:
    """The data of `command.settle`, `command.refund` or `command.cancel`."""
    payment = order.payment(command.payment_id)
    assert payment is not None
    data: Json = {
        "commandId": command.command_id,
        "requestId": command.request_id,
        "orderId": order.order_id,
        "paymentId": payment.payment_id,
        "transactionId": payment.transaction_id,
        "authorizationId": payment.authorization_id,
        "connector": payment.connector,
        "merchant": order.merchant,
        "currency": order.currency,
        "value": command.value,
        "sequence": command.sequence,
        "cause": {"kind": command.cause_kind, "id": command.cause_id},
        "retryOf": command.retry_of,
        "settleId": command.settle_id,
        "tid": payment.tid,
        "nsu": payment.nsu,
        "issuedAt": timestamp(at_ms),
    }
    if command.operation == "settle" and command.shares:
        data["recipients"] = [
            _recipient(payment, place, amount, commission) for place, (amount, commission) in enumerate(command.shares)
        ]
    return data


def _recipient(payment: Payment, place: int, amount: int, commission: int) -> Json:
    one = payment.shares[place].recipient
    data: Json = {
        "id": one.id, "name": one.name, "documentType": one.document_type, "document": one.document,
        "role": one.role, "amount": amount,
    }  # fmt: skip
    optional = {
        "chargeProcessingFee": one.charge_processing_fee,
        "chargebackLiable": one.chargeback_liable,
        "commissionAmount": commission if one.commission_amount is not None else None,
    }
    return data | {name: value for name, value in optional.items() if value is not None}


def event_message(order: Order, event: Event, source: tuple[str, int, int] | None, at_ms: int) -> Json:
    """The data of one event; `source` is where the fact was read: topic with prefix, partition, offset."""
    return {
        "sequence": event.sequence,
        "orderId": order.order_id,
        "type": event.type,
        "rule": event.rule,
        "reason": event.reason,
        "numbers": event.numbers,
        "cause": {"kind": event.cause_kind, "id": event.cause_id},
        "source": dict(zip(("topic", "partition", "offset"), source, strict=True)) if source else None,
        "at": timestamp(at_ms),
    }


def order_state(order: Order) -> Json:
    """The data of `order.state`: the order's whole state."""
    frozen = {command.payment_id for command in order.commands.values() if command.state in _FREEZING}
    payments = [_payment_state(payment, payment.payment_id in frozen) for payment in order.payments]
    attention = attention_of(order)
    return {
        "orderId": order.order_id,
        "merchant": order.merchant,
        "currency": order.currency,
        "mode": order.mode,
        "status": "attention" if attention else order.phase,
        "phase": order.phase,
        "value": order.value,
        "invoiced": order.invoiced,
        "returned": order.returned,
        "waiting": authorization_needed(order),
        "refundsWaiting": sum(demand.amount for demand in order.demands),
        **_summed(payments),
        "payments": payments,
        "invoices": _invoices(order),
        "attention": attention,
        "version": order.version,
        "updatedAt": timestamp(order.updated_at_ms),
    }


def _summed(payments: list[Json]) -> Json:
    """The sums of all payments; most orders have one."""
    if len(payments) == 1:
        return {name: payments[0][name] for name in _SUMS}
    return {name: sum(payment[name] for payment in payments) for name in _SUMS}


def _payment_state(payment: Payment, frozen: bool) -> Json:
    return {
        "paymentId": payment.payment_id,
        "authorized": payment.authorized,
        "settled": payment.settled,
        "settling": payment.settling,
        "refunded": payment.refunded,
        "refunding": payment.refunding,
        "voided": payment.voided,
        "voiding": payment.voiding,
        "open": payment.open,
        "connector": payment.connector,
        "frozen": frozen,
        "lapsed": payment.lapsed,
        "settlements": [
            {"settleId": one.settle_id, "value": one.value, "refunded": one.refunded, "automatic": one.automatic}
            for one in payment.settlements
        ],
    }


def _invoices(order: Order) -> list[Json]:
    """Every invoice with how much of it is done (reference value) and its status."""
    lacks, refunds = lacking.per_invoice(order.lacks), _refunds_per_invoice(order)
    captured = _captured_per_sale(order, lacks)
    waiting = lacking.summed((one.cause_id, one.amount) for one in order.demands if one.cause_kind == "invoice")
    dropped = _dropped_returns(order, refunds, waiting)
    unsent = _unsent_returns(order, refunds, waiting, dropped)
    found = []
    for number, invoice in order.invoices.items():
        if invoice.standalone:
            done, status = 0, "standalone"
        elif invoice.output:
            done = captured[number]
            status = _lack_status(lacks.get(number, ())) or ("settled" if done == invoice.due else "accepted")
        else:
            done, status = unsent.get(number) or _return_state(refunds[number], number in waiting, number in dropped)
            done = min(done, invoice.value)  # a refund may have taken along what was too small of others
        found.append(
            {
                "invoiceNumber": number, "type": "Output" if invoice.output else "Input",
                "value": invoice.value, "excess": 0 if invoice.standalone else invoice.value - invoice.due,
                "done": done, "status": status,
            }
        )  # fmt: skip
    return found


def _captured_per_sale(order: Order, lacks: Mapping[str, Sequence[Lack]]) -> dict[str, int]:
    """How much of each sale is captured. Where one settle stands for all of them, the oldest are captured first."""
    partial = order.mode == "PARTIAL"
    asked = _asked_per_invoice(order) if partial else {}
    confirmed = 0 if partial else max(0, order.taken - sum(one.settling_reference for one in order.payments))
    captured: dict[str, int] = {}
    for number, invoice in order.invoices.items():
        if invoice.standalone or not invoice.output:
            continue
        lacking_here = lacks.get(number)
        done = invoice.due - sum(lack.amount for lack in lacking_here) if lacking_here else invoice.due
        if partial:
            captured[number] = max(0, done - asked.get(number, 0))
        else:
            captured[number] = min(done, confirmed)
            confirmed -= captured[number]
    return captured


def _asked_per_invoice(order: Order) -> dict[str, int]:
    """How much of each invoice is in flight."""
    asked: dict[str, int] = {}
    for command in order.commands.values():
        if command.covers and command.in_flight:
            for number, part in command.covers:
                asked[number] = asked.get(number, 0) + part
    return asked


def _refunds_per_invoice(order: Order) -> dict[str, list[Command]]:
    """The refunds of each return."""
    found: dict[str, list[Command]] = {}
    for command in order.commands.values():
        if command.operation == "refund" and command.cause_kind == "invoice":
            found.setdefault(command.cause_id, []).append(command)
    return found


def _lack_status(lacks: Sequence[Lack]) -> str | None:
    if not lacks:
        return None
    kinds = {lack.kind for lack in lacks}
    if kinds & {"failed", "lapsed", "abandoned"}:
        return "settlement_failed"
    return "short" if "short" in kinds else None


def _dropped_returns(order: Order, refunds: Mapping[str, Sequence[Command]], waiting: Mapping[str, int]) -> set[str]:
    """The returns of which at least a part was dropped, with what it would have returned; the newest first (R39)."""
    left, found = order.dropped, set()
    for number, invoice in reversed(order.invoices.items()) if left else ():
        asked = sum(one.reference for one in refunds.get(number, ()) if one.retry_of is None)
        unasked = 0 if invoice.output else invoice.value - asked - waiting.get(number, 0)
        if left > 0 and unasked > 0:
            found.add(number)
            left -= unasked
    return found


def _return_state(refunds: Sequence[Command], waits: bool, dropped: bool) -> tuple[int, str]:
    done = sum(command.done_reference for command in refunds if command.state == "succeeded")
    if any(command.abandoned or (command.missing and command.state != "succeeded") for command in refunds):
        return done, "refund_failed"
    if any(command.missing for command in refunds):
        return done, "short"
    if waits:
        return done, "refund_waiting"
    if any(command.in_flight for command in refunds):
        return done, "accepted"
    return done, "refund_failed" if dropped else "refunded"


def _unsent_returns(
    order: Order, refunds: Container[str], waiting: Container[str], dropped: Container[str]
) -> dict[str, tuple[int, str]]:
    """The done amount and status of each return without a refund command."""
    found: dict[str, tuple[int, str]] = {}
    too_small = order.refund_crumbs
    for number, invoice in reversed(order.invoices.items()) if order.returned else ():
        if invoice.output or number in refunds:
            continue
        if number in waiting:
            found[number] = 0, "refund_waiting"
        elif number in dropped:
            found[number] = 0, "refund_failed"
        elif too_small > 0:  # it rounded to zero, and goes with the next refund (R26)
            too_small -= invoice.value
            found[number] = 0, "accepted"
        else:  # it went with a later refund, or like its sale it counts as taken (R26)
            found[number] = invoice.value, "refunded"
    return found


def needs_attention(order: Order) -> bool:
    """Whether a person must look at the order."""
    return bool(attention_of(order))


def needs_authorization(order: Order) -> bool:
    """Whether more is invoiced than the payments allow (R16)."""
    return authorization_needed(order) > 0


def authorization_needed(order: Order) -> int:
    """What invoices lack for want of another authorization; a payment that settles once is only asked later (R2)."""
    later = sum(room_reference(payment) for payment in order.payments if payment.settles_once)
    return max(0, lacking.total(order, "waiting") - later)


def attention_of(order: Order) -> list[Json]:
    """What a person must look at."""
    found = [
        _command_attention(order, command) for command in order.commands.values()
        if command.state in _ATTENTION or command.missing
    ]  # fmt: skip
    found += [
        _item("lapsed", lack.amount, invoice=lack.invoice)
        for lack in order.lacks if lack.kind == "lapsed"
    ]  # fmt: skip
    found += [
        _item("suspect", capture.value, payment=capture.payment_id, settle=capture.settle_id)
        for capture in order.unbooked if capture.suspect
    ]  # fmt: skip
    return [item for item in found if item]


def _command_attention(order: Order, command: Command) -> Json | None:
    if command.state in _ATTENTION:
        return _of_command(command, command.state, command.value)
    amount = order.missing_value(command)
    if command.operation == "cancel" and not amount:
        return None  # nothing is open any more that it should have freed
    code = "short" if command.state == "succeeded" else "failed"
    return _of_command(command, code, amount)


def _of_command(command: Command, code: str, amount: int) -> Json:
    return _item(
        code, amount, payment=command.payment_id, command=command.command_id, settle=command.settle_id,
        invoice=command.cause_id if command.cause_kind == "invoice" else None,
    )  # fmt: skip


def _item(
    code: str,
    amount: int,
    *,
    payment: str | None = None,
    command: str | None = None,
    invoice: str | None = None,
    settle: str | None = None,
) -> Json:
    return {
        "code": code, "paymentId": payment, "commandId": command, "invoiceNumber": invoice, "settleId": settle,
        "amount": amount,
    }  # fmt: skip
