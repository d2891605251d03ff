"""What a person can ask again, resolve or give up (R39); checked when it is typed, and again when it is applied."""

from typing import assert_never

from worker.domain import refunding, settling, voiding
from worker.domain.money import to_major
from worker.domain.order import Command, Lack, Order, Payment, UnbookedCapture


def most_done(payment: Payment, command: Command) -> int:
    """The most that a person may say was done: what was asked, and whatever else the payment has room for."""
    match command.operation:
        case "settle":
            return command.value + payment.cap - payment.used
        case "refund":
            settlement = next(one for one in payment.settlements if one.settle_id == command.settle_id)
            return command.value + settlement.refundable + settlement.kept_for_retry
        case "cancel":
            return command.value + payment.open
        case _:
            assert_never(command.operation)


def is_settled_under(payment: Payment, command: Command, operation_id: str) -> bool:
    """Whether a settle would get the id of another settlement; refunds name settlements, so their ids must differ.

    One operation may stand for several refunds or voids, and an automatic settlement may turn out to be this one.
    """
    return command.operation == "settle" and any(
        not one.automatic and one.settle_id == operation_id for one in payment.settlements
    )


def lapsed_of(order: Order, invoice: str) -> list[Lack]:
    """The lacks of an invoice that lapsed with an authorization and may be given up."""
    return [one for one in order.lacks if one.invoice == invoice and one.kind == "lapsed"]


def suspect_settlements(order: Order, settle_id: str | None) -> list[UnbookedCapture]:
    """Automatic settlements that do not fit and may be given up."""
    return [one for one in order.unbooked if one.suspect and one.settle_id == settle_id]


def why_not_done(order: Order, command_id: str, done: int, operation_id: str) -> str | None:
    """One sentence on why an open command cannot have been done in this way, or None."""
    command = order.commands.get(command_id)
    payment = order.payment(command.payment_id) if command else None
    if command is None or payment is None or not command.in_flight:
        return None
    if (most := most_done(payment, command)) < done:
        said, can = (f"{to_major(one, order.currency)} {order.currency}" for one in (done, most))
        return f"{said} is above the {can} that can have been done, which is {most} in minor units"
    if is_settled_under(payment, command, operation_id):
        return (f"settle id {operation_id} is another settlement's of payment {payment.payment_id}: "
                "two settles are never closed under one")  # fmt: skip
    return None


def why_not_given_up(order: Order | None, order_id: str, invoice: str | None, settle_id: str | None) -> str | None:
    """One sentence on why there is nothing to give up, or None. No order: nothing has opened it yet."""
    if invoice is not None:
        what, found = f"lapsed amount of invoice {invoice}", bool(order and lapsed_of(order, invoice))
    else:
        what = f"suspect automatic settlement {settle_id}"
        found = bool(order and suspect_settlements(order, settle_id))
    return None if found else f"order {order_id} has no {what} that could be given up"


def why_not_asked_again(order: Order, command_id: str) -> str | None:
    """One sentence on why nothing can be asked again of a failed or short command, and what to do instead, or None.

    None also for a command whose end the ledger does not know: its state decides about it (`objection`).
    """
    command = order.commands.get(command_id)
    payment = order.payment(command.payment_id) if command else None
    if command is None or payment is None or command.in_flight or not command.missing:
        return None
    match command.operation:
        case "settle":
            return _why_not_settled(order, payment, command)
        case "refund":
            return _why_not_refunded(payment, command)
        case "cancel":
            return _why_not_voided(payment, command)
        case _:
            assert_never(command.operation)


def _why_not_settled(order: Order, payment: Payment, command: Command) -> str | None:
    """Another payment would not help: a declined amount is never moved to it (R35)."""
    if settling.part_to_retry(order, payment, command):
        return None
    if order.phase == "canceled":
        return f"order {order.order_id} is canceled, nothing is captured for it any more: abandon it"
    which, alone = f"payment {payment.payment_id}", "no other payment takes over what it failed to capture"
    if payment.lapsed:
        return (
            f"the authorization of {which} has expired, and {alone}: abandon it, unless the gateway captures by itself"
        )
    if payment.settling or payment.voiding:
        return f"{which} has no room for it: wait until its settles and voids in flight have ended, or abandon it"
    return f"{which} has no room for it, and {alone}: abandon it"


def _why_not_refunded(payment: Payment, command: Command) -> str | None:
    settlement = next(one for one in payment.settlements if one.settle_id == command.settle_id)
    if refunding.value_to_retry(settlement, command) > 0:
        return None
    return f"nothing of settlement {settlement.settle_id} is left to refund for this command: abandon it"


def _why_not_voided(payment: Payment, command: Command) -> str | None:
    if voiding.value_to_retry(payment, command) > 0:
        return None
    if payment.open:
        return f"the connector of payment {payment.payment_id} takes no void of a part: abandon it"
    return f"nothing of payment {payment.payment_id} is open that a void could free: abandon it"
