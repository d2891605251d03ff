"""A decision in the making: a copy of the order that rules may change, and what they book, send and report."""

from msgspec.structs import replace

from worker.domain.decision import Account, Decision, Entry, Event, EventType, Fate, Number, Refusal
from worker.domain.ids import command_ids
from worker.domain.money import to_major
from worker.domain.order import Cause, Command, Covers, Operation, Order, Payment, Settlement, Share, Split
from worker.domain.terms import Terms

_REQUESTED: dict[Operation, EventType] = {
    "settle": "settlement.requested", "refund": "refund.requested", "cancel": "void.requested",
}  # fmt: skip


class Draft:
    """The only thing that rules change; what `decide` was given stays as it is."""

    __slots__ = ("cause", "commands", "entries", "events", "judged", "keeps_record", "order", "terms", "unparks")

    def __init__(self, order: Order, terms: Terms, cause: Cause) -> None:
        self.order = _copied(order)
        self.terms = terms
        self.cause = cause
        self.entries: list[Entry] = []
        self.commands: list[Command] = []
        self.events: list[Event] = []
        self.judged: list[tuple[str, str, bool]] = []
        self.keeps_record = False
        self.unparks = False

    def decision(self, fate: Fate, refusal: Refusal | None = None) -> Decision:
        self.order.version += 1
        self.order.updated_at_ms = self.terms.now_ms
        return Decision(
            order=self.order, fate=fate, entries=self.entries, commands=self.commands, events=self.events,
            refusal=refusal, keeps_record=self.keeps_record, judged=self.judged, unparks=self.unparks,
        )  # fmt: skip

    def amount(self, minor: int) -> str:
        """The amount as a person reads it."""
        return to_major(minor, self.order.currency)

    def tell(
        self, kind: EventType, rule: str, reason: str, numbers: dict[str, Number] | None = None,
        cause: Cause | None = None,
    ) -> None:  # fmt: skip
        """Adds an event to the order's timeline."""
        self.order.events += 1
        cause_kind, cause_id = cause or self.cause
        self.events.append(Event(self.order.events, kind, rule, reason, numbers or {}, cause_kind, cause_id))

    def move(
        self, payment: Payment, debit: Account, credit: Account, amount: int, rule: str, command_id: str = ""
    ) -> None:
        """Books an amount from one account of the payment to another; an amount of 0 is not booked."""
        if amount > 0:
            self.entries.append(Entry(payment.payment_id, debit, credit, amount, rule, command_id))

    def issue(
        self,
        payment: Payment,
        operation: Operation,
        value: int,
        reference: int,
        cause: Cause,
        rule: str,
        *,
        settle_id: str | None = None,
        retry_of: str | None = None,
        booked_before: int = 0,
        covers: Covers = (),
        shares: Split = (),
    ) -> Command:
        """Issues a command with the next ordinal of its cause and the next sequence of its payment."""
        order, ordinal = self.order, 1
        ids = command_ids(order.order_id, payment.payment_id, operation, cause, settle_id, ordinal)
        while ids[0] in order.commands:
            ordinal += 1
            ids = command_ids(order.order_id, payment.payment_id, operation, cause, settle_id, ordinal)
        payment.sequence += 1
        command = Command(
            command_id=ids[0], request_id=ids[1], operation=operation, payment_id=payment.payment_id, value=value,
            reference=reference, cause_kind=cause[0], cause_id=cause[1], sequence=payment.sequence,
            settle_id=settle_id, retry_of=retry_of, booked_before=booked_before, covers=covers, shares=shares,
        )  # fmt: skip
        order.commands[command.command_id] = command
        self.commands.append(command)
        self.tell(
            _REQUESTED[operation], rule,
            f"Asked to {operation} {self.amount(value)} on payment {payment.payment_id} ({rule})",
            {"value": value, "paymentId": payment.payment_id, "commandId": command.command_id}, cause,
        )  # fmt: skip
        return command

    def tell_failed(self, kind: EventType, what: str, command: Command, rule: str, code: str | None) -> None:
        """Adds the event of a command that was not done; its amount has been released or kept for a retry."""
        self.tell(
            kind, rule,
            f"The {what} of {self.amount(command.value)} on payment {command.payment_id} failed: "
            f"{code or 'declined'} ({rule})",
            {"value": command.value, "paymentId": command.payment_id, "commandId": command.command_id, "code": code},
        )  # fmt: skip

    def update(self, command: Command, **changes: object) -> Command:
        """Puts a copy of the command with these changes in its place."""
        changed = replace(command, **changes)
        self.order.commands[command.command_id] = changed
        return changed

    def payment(self, payment_id: str) -> Payment:
        found = self.order.payment(payment_id)
        assert found is not None, f"order {self.order.order_id} has no payment {payment_id}"
        return found

    def settlement(self, payment: Payment, settle_id: str | None) -> tuple[int, Settlement]:
        """One settlement of the payment, and its index."""
        for index, settlement in enumerate(payment.settlements):
            if settlement.settle_id == settle_id:
                return index, settlement
        raise AssertionError(f"payment {payment.payment_id} has no settlement {settle_id}")

    # Money is reserved from the open part first, then from headroom; what is released fills headroom first.

    def reserve(self, payment: Payment, credit: Account, amount: int, rule: str, command_id: str = "") -> None:
        """Takes an amount from the payment's room. To be called before the payment's sums change."""
        if payment.lapsed:
            self.move(payment, "lapsed", credit, amount, rule, command_id)
            return
        below = min(amount, payment.untouched)
        self.move(payment, "authorized", credit, below, rule, command_id)
        self.move(payment, "headroom", credit, amount - below, rule, command_id)

    def release(self, payment: Payment, debit: Account, amount: int, rule: str, command_id: str = "") -> None:
        """Gives an amount back to the payment's room. To be called after the payment's sums changed."""
        if payment.lapsed:
            self.move(payment, debit, "lapsed", amount, rule, command_id)
            return
        below = min(amount, payment.untouched)
        self.move(payment, debit, "headroom", amount - below, rule, command_id)
        self.move(payment, debit, "authorized", below, rule, command_id)


def where_any(**numbers: Number) -> dict[str, Number]:
    """These numbers without those that are zero."""
    return {name: number for name, number in numbers.items() if number}


def _copied(order: Order) -> Order:
    return replace(
        order,
        payments=[_copied_payment(payment) for payment in order.payments],
        payment_contents=dict(order.payment_contents),
        invoices=dict(order.invoices),
        changes=dict(order.changes),
        commands=dict(order.commands),
        lacks=list(order.lacks),
        demands=list(order.demands),
        unbooked=list(order.unbooked),
        automatic=dict(order.automatic),
        refused=list(order.refused),
    )


def _copied_payment(payment: Payment) -> Payment:
    return replace(payment, settlements=list(payment.settlements), shares=list(payment.shares))


def with_shares(payment: Payment, taken: Split, sign: int) -> None:
    """Subtracts (sign −1) from what the recipients have still to receive, or adds it back (+1)."""
    if taken:
        payment.shares = [
            Share(share.recipient, share.rest + sign * amount, share.commission_rest + sign * commission)
            for share, (amount, commission) in zip(payment.shares, taken, strict=True)
        ]
