"""Voids: freeing what nobody will capture, by a command or in the books only (R5, R15, R22, R25)."""

from worker.domain.allocation import Part, allocate_void, by_amount, split, split_done, together
from worker.domain.draft import Draft, where_any, with_shares
from worker.domain.money import proportional
from worker.domain.order import Cause, Command, Order, Payment


def void(draft: Draft, amount: int, cause: Cause, rule: str) -> None:
    """Voids an amount (reference value) of the open parts, lowest payment first."""
    for part in allocate_void(by_amount(draft.order), amount):
        _void_part(draft, part, cause, rule)


def void_open_rest(draft: Draft, cause: Cause, rule: str) -> None:
    """Voids every payment's open part, except what was declined before and only a person may ask for again."""
    for payment in by_amount(draft.order):
        if (value := _to_void(draft.order, payment)) > 0:
            reference = proportional(payment.open_reference, value, payment.open)
            _void_part(draft, Part(payment, reference, value), cause, rule)
            _include_earlier(draft, payment)


def _include_earlier(draft: Draft, payment: Payment) -> None:
    """Closes the failed voids of changes: what they did not free was voided with the rest (R5, R22)."""
    mine = [one for one in draft.order.commands.values() if one.missing and one.payment_id == payment.payment_id]
    for command in mine:
        if _is_ended_void(command) and not _stays_open(draft.order, payment, command):
            draft.update(command, missing=0)


def _to_void(order: Order, payment: Payment) -> int:
    """How much to void: all that is open but what waits for a person, and at least what voids of changes did not free.

    The gateway may have captured part of what waits for a person: the voids of changes must not pay for that part.
    """
    withheld = again = 0
    for command in order.commands.values():
        if command.payment_id == payment.payment_id and _is_ended_void(command):
            if _stays_open(order, payment, command):
                withheld += command.undone
            elif command.missing:
                again += command.undone
    return max(payment.open - withheld, min(again, payment.open))


def _is_ended_void(command: Command) -> bool:
    return command.operation == "cancel" and command.state in ("declined", "succeeded")


def _stays_open(order: Order, payment: Payment, command: Command) -> bool:
    """Whether what this void did not free waits for a person.

    A change's void is asked for once more, with the open rest, unless abandoned (R5, R22). Where voids are only booked,
    nothing is asked.
    """
    if command.cause_kind == "change":
        return command.abandoned and order.phase != "canceled"
    return not _only_booked(payment) and (command.abandoned or command.missing > 0)


def _only_booked(payment: Payment) -> bool:
    """Whether its connector voids whole payments only, and part of this one is settled or settling."""
    return payment.settles_once and payment.settled + payment.settling > 0


def _void_part(draft: Draft, part: Part, cause: Cause, rule: str) -> None:
    """Sends a void if the connector takes parts; else books it, until the whole payment is voided (TOTAL, HOLD)."""
    payment = part.payment
    if not payment.settles_once:
        _send(draft, part, cause, rule)
        return
    whole = part.value == payment.open and payment.voiding == 0 and payment.voided == payment.booked
    if whole and not _only_booked(payment):
        _send(draft, part, cause, rule, booked_before=payment.booked)
        return
    shares = split(payment, part.value)
    draft.reserve(payment, "voided", part.value, rule)
    with_shares(payment, shares, -1)
    payment.voided += part.value
    payment.booked += part.value
    payment.booked_shares = together(payment.booked_shares, shares)
    payment.voided_reference += part.reference
    payment.booked_reference += part.reference
    draft.tell(
        "void.confirmed", rule,
        f"Voided {draft.amount(part.value)} of payment {payment.payment_id} in the books; "
        f"its connector takes no partial void and is not told ({rule})",
        {"value": part.value, "short": 0, "paymentId": payment.payment_id, "booked": 1}, cause,
    )  # fmt: skip


def _send(
    draft: Draft, part: Part, cause: Cause, rule: str, booked_before: int = 0, retry_of: str | None = None
) -> None:
    payment = part.payment
    shares = split(payment, part.value)
    command = draft.issue(
        payment, "cancel", part.value + booked_before, part.reference, cause, rule,
        booked_before=booked_before, shares=shares, retry_of=retry_of,
    )  # fmt: skip
    draft.reserve(payment, "voiding", part.value, rule, command.command_id)
    with_shares(payment, shares, -1)
    payment.voiding += part.value
    payment.voided_reference += part.reference


def undo_booked(draft: Draft, payment: Payment, rule: str) -> int:
    """Undoes voids that were only booked, never sent; returns their amount (R27)."""
    amount = payment.booked
    if not amount:
        return 0
    payment.voided -= amount
    payment.voided_reference -= payment.booked_reference
    payment.booked = payment.booked_reference = 0
    draft.release(payment, "voided", amount, rule)
    with_shares(payment, payment.booked_shares, +1)
    payment.booked_shares = ()
    return amount


def value_to_retry(payment: Payment, command: Command) -> int:
    """How much a retry may void: at most what is open; 0 also for a part of which the connector is not told."""
    value = min(command.undone, payment.open)
    return 0 if _only_booked(payment) or (payment.settles_once and value < payment.open) else value


def retry_void(draft: Draft, command: Command) -> int:
    """A new cancel for what was declined."""
    payment = draft.payment(command.payment_id)
    if (value := value_to_retry(payment, command)) <= 0:
        return 0
    reference = proportional(payment.open_reference, value, payment.open)
    draft.update(command, missing=0)
    booked_before = payment.booked if payment.settles_once else 0
    _send(draft, Part(payment, reference, value), command.cause, "R39", booked_before, command.command_id)
    return value


def void_succeeded(draft: Draft, command: Command, done: int, operation_id: str | None, rule: str) -> None:
    payment = draft.payment(command.payment_id)
    asked = command.value - command.booked_before
    freed = max(0, min(asked, done - command.booked_before))
    above = max(0, done - command.value)
    reference = proportional(command.reference, freed, asked)
    payment.voiding -= asked
    payment.voided += freed
    payment.voided_reference -= command.reference - reference
    draft.move(payment, "voiding", "voided", freed, rule, command.command_id)
    if freed < asked:
        draft.release(payment, "voiding", asked - freed, rule, command.command_id)
        with_shares(payment, command.shares, +1)
        with_shares(payment, split_done(command.shares, freed), -1)
    if above:
        more = proportional(payment.open_reference, above, payment.open)
        with_shares(payment, split(payment, above), -1)
        draft.reserve(payment, "voided", above, rule, command.command_id)
        payment.voided += above
        payment.voided_reference += more
    if command.booked_before:  # as far as it was done, the connector knows now
        booked = max(0, payment.booked - done)
        payment.booked_reference = proportional(payment.booked_reference, booked, payment.booked)
        payment.booked_shares = split_done(payment.booked_shares, booked)
        payment.booked = booked
    draft.update(
        command, state="succeeded", done=done, done_reference=reference, operation_id=operation_id,
        missing=max(1, command.reference - reference) if freed < asked else 0,
    )  # fmt: skip
    before = done - freed - above  # what an earlier event has told as voided in the books
    draft.tell(
        "void.confirmed", rule, f"Voided {draft.amount(done)} of payment {payment.payment_id} ({rule})",
        {"value": done, "short": asked - freed, "paymentId": payment.payment_id, "commandId": command.command_id,
         **where_any(before=before)},
    )  # fmt: skip


def void_failed(draft: Draft, command: Command, rule: str, code: str | None) -> None:
    """What it would have freed is open again; what was only booked stays voided."""
    payment = draft.payment(command.payment_id)
    amount = command.value - command.booked_before
    payment.voiding -= amount
    payment.voided_reference -= command.reference
    draft.release(payment, "voiding", amount, rule, command.command_id)
    with_shares(payment, command.shares, +1)
    draft.update(command, state="declined", missing=max(1, command.reference))
    draft.tell_failed("void.failed", "void", command, rule, code)
