"""The rules of `docs/rules.md` about money as plain sums, written independently of the domain; read from top to bottom.

The letters are those of the rules. Of a payment: A authorized, M its cap, S settled, C voided, F refunded, and P, D, G
in flight. Of the order: V its value, O invoiced, R returned, K taken.

It covers PARTIAL orders; `reference_total.py` has what differs in TOTAL and HOLD, `reference_interest.py` counts with
interest, `reference_recipients.py` divides among recipients. They do not cover repeats, facts that arrive too early,
later payments that settle once in a PARTIAL order, the abandonment of lapsed amounts, and, in TOTAL and HOLD, a capture
that had stood in for a failed settle and turns out to be our own one.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from tests.property.reference_recipients import Recipients

LETTERS = {"settle": ("P", "S"), "cancel": ("D", "C"), "refund": ("G", "F")}  # in flight, and done


@dataclass(eq=False)
class Payment:
    name: str
    A: int
    M: int
    later: bool = False
    card: bool = False
    expires: int | None = None
    lapsed: bool = False
    asked: bool = False  # TOTAL, HOLD: to settle, whatever came of it
    booked: int = 0  # TOTAL, HOLD: the part of C that the connector was not told
    S: int = 0
    P: int = 0
    C: int = 0
    D: int = 0
    F: int = 0
    G: int = 0
    captures: "list[Capture]" = field(default_factory=list)  # the oldest first
    recipients: Recipients = field(default_factory=Recipients)  # what they have still to receive
    booked_parts: Recipients = field(init=False)  # what `booked` took from them

    def __post_init__(self) -> None:
        self.booked_parts = self.recipients.take(0)

    @property
    def unused(self) -> int:
        return self.M - self.S - self.P - self.C - self.D

    @property
    def untouched(self) -> int:
        return max(0, self.unused - (self.M - self.A))

    @property
    def free(self) -> int:  # for retries; recipients were promised nothing above A (R3)
        most = self.untouched if self.recipients.amounts else self.unused
        return 0 if self.lapsed else most

    @property
    def room(self) -> int:  # for settles
        return 0 if self.asked else self.free

    @property
    def open(self) -> int:  # for voids
        return 0 if self.lapsed else self.untouched


NONE_YET = Payment("", 0, 0)  # the payment of a waiting settle or refund


@dataclass(eq=False)
class Command:
    operation: str
    payment: Payment
    value: int
    invoice: int = 0  # the sale or return that it is for, if any
    final: bool = False  # the finishing void
    state: str = "sent"  # or unknown, manual, suspect, doubted, ended
    done: int = 0
    missing: int = 0  # not done and not retried
    given_up: bool = False
    stored: bool = False  # R20: refunded once the order is invoiced
    reserved: int = 0  # the value without what was booked as voided before
    parts: Recipients = field(default_factory=Recipients)

    @property
    def ended(self) -> bool:
        return self.state == "ended"

    @property
    def taken(self) -> int:
        """What it took or may take of what was asked."""
        return min(self.done, self.value) if self.ended else self.value


@dataclass(eq=False)
class Capture:
    payment: Payment
    value: int
    left: int = 0  # can still be refunded
    parts: Recipients = field(default_factory=Recipients)  # what it took from the recipients, if by the gateway itself
    covered: list[tuple[Command, int]] = field(default_factory=list)  # and of what had failed


class Reference:
    """A fact is a call that may return the rule that refuses it, or a new payment or capture; `settle_down` follows."""

    def __init__(
        self, value: int, payments: list[Payment], card_first: bool = False, after_invoiced: bool = False
    ) -> None:
        self.V, self.O, self.R, self.phase = value, 0, 0, "open"
        self.excess = 0  # refunds of changes, surplus and cancellation
        self.dropped = 0  # waiting returns that an abandonment dropped
        self.payments, self.card_first, self.after_invoiced = payments, card_first, after_invoiced
        self.commands: list[Command] = []
        self.captures: list[Capture] = []  # automatic settlements that are not decided yet
        self.lacks: list[Command] = []  # waiting and failed settles
        self.refunds: list[Command] = []  # waiting refunds
        self.suspects: list[Capture] = []
        self.ending = False

    @property
    def K(self) -> int:  # noqa: N802
        return sum(one.S + one.P for one in self.payments) - self.excess

    @property
    def unlisted(self) -> int:
        """The part of max(0, O − K), what accepted invoices lack, that is not listed in `lacks` yet."""
        return max(0, self.O - self.K) - sum(one.missing for one in self.lacks)

    @property
    def waiting(self) -> int:
        return sum(one.missing for one in self.lacks if not one.ended)

    @property
    def lost(self) -> int:
        """What accepted invoices lack for good (R18)."""
        return max(0, self.O - self.K) - self.waiting

    @property
    def abandoned_settles(self) -> int:
        """TOTAL, HOLD: the part of V − K that people gave up."""
        return 0

    def sold(self, invoice: int, value: int) -> str | None:
        if self.phase == "canceled":
            return "R22"
        if self.phase == "open":  # later it moves nothing (R7)
            due = min(value, self.V - self.O)  # R6
            self.O += due
            self._lack(due, invoice)
        return None

    def returned(self, invoice: int, value: int) -> str | None:
        if self.phase == "canceled":
            return "R22"
        if self.R - min(self.dropped, self.lost) + value > self.O - self.lost:
            return "R18"
        self.R += value  # and O stays (R19)
        self.refunds.append(Command("refund", NONE_YET, value, invoice, missing=value, stored=self.after_invoiced))
        return None

    def changed(self, discount: int, increment: int) -> str | None:
        before, after = self.V, self.V - discount + increment  # R13
        if self.phase != "open" or after == before or after <= 0 or after < self.O:
            return "R14"
        self.V = after
        if after < before:  # R15; an increase moves nothing (R16)
            refund = max(0, self.K - after)
            spare = max(0, sum(one.open for one in self.payments) - max(0, after - self.K))
            for payment, part in self._parts(min(before - after - refund, spare), "open"):
                self._void(payment, part)
            self._give_back(refund)
        return None

    def canceled(self) -> str | None:
        if self.O:
            return "R23"
        self.phase = "canceled"  # R22
        self._void_rest()
        self._give_back(self.K)
        return None

    def time(self, hour: int) -> bool:
        """R28: whether an authorization lapses."""
        late = [one for one in self.payments if not one.lapsed and one.expires is not None and one.expires <= hour]
        for payment in late:
            payment.lapsed = True
        return bool(late)

    def answered(self, command: Command, done: int) -> None:
        """R32, R35, R39: the done amount is booked; the rest is released and not requested automatically."""
        payment, (in_flight, booked) = command.payment, LETTERS[command.operation]
        counted = max(0, done - command.value + command.reserved)  # what was booked as voided is not voided again
        vars(payment)[in_flight] -= command.reserved
        vars(payment)[booked] += counted
        if command.operation == "cancel":
            payment.booked = max(0, payment.booked - done)
            payment.booked_parts = payment.booked_parts.take(payment.booked)
        if command.operation != "refund":
            payment.recipients.book(command.parts, counted)
        command.state, command.done = "ended", done
        command.missing = max(0, command.reserved - counted)  # that of a refund is kept (R21)
        if command.operation == "settle":
            if done:
                payment.captures.append(Capture(payment, done, done))
            waiting = [one for one in reversed(self.refunds) if not one.invoice]
            self.excess -= _reduce(waiting, command.missing)  # refunds that wait for this money are dropped (R15)
            self._lose(command)
            self._cover(payment, max(0, done - command.value))  # above what was asked, up to the cap
            self._give_back(self.K - self.V)

    def retried(self, command: Command) -> None:
        """R39: a new command for at most the payment's room; the rest of a settle stays failed."""
        payment, missing = command.payment, command.missing
        if not command.ended:
            command.state = "doubted" if command.state == "doubted" else "sent"  # once more, if it was not answered
            return
        value = min(missing, {"settle": payment.free, "cancel": payment.open, "refund": missing}[command.operation])
        if value and self._may_send(command, value):
            command.missing = missing - value if command.operation == "settle" else 0
            told = payment.booked if command.operation == "cancel" else 0
            self._ask(command.operation, payment, value, command.invoice, command.final, told)

    def abandoned(self, command: Command) -> None:
        """R39: it no longer prevents the end; waiting returns above what can still be returned are dropped."""
        if command.operation == "settle":
            self.lacks.insert(self.lacks.index(command), replace(command, given_up=True))
            command.missing = 0
        else:
            command.given_up = True
        returns = [one for one in reversed(self.refunds) if one.invoice]
        self.dropped += _reduce(returns, max(0, self.R - self.dropped - (self.O - self.lost)))

    def settle_down(self) -> None:
        """All automatic consequences."""
        captures, self.captures = self.captures, []
        for capture in captures:
            self._judge(capture)
        if self.phase == "open" and self.O >= self.V:
            self.phase = "invoiced"  # R5
        self._settle()
        self._refund()
        self.ending |= self.phase == "invoiced" and self._is_done()
        if self.ending or self.phase == "canceled":
            self._void_rest()
        if self.ending and all(one.state != "sent" for one in self.commands if one.final):
            self.phase = "finished"

    def claimed(self, capture: Capture, command: Command, done: int) -> None:
        """R27: our settle has the id of this capture, so it is the same; not if it differs or has led to a refund."""
        payment = command.payment
        self.captures = [one for one in self.captures if one is not capture]
        self.suspects = [one for one in self.suspects if one is not capture]
        if capture in payment.captures:
            if done != capture.value or capture.left < capture.value or self._led_to_a_refund(capture):
                command.state = "doubted"
                return
            payment.captures.remove(capture)
            payment.S -= done
            payment.recipients.add(capture.parts)
            self._uncover(capture)
        self.answered(command, done)

    def _led_to_a_refund(self, capture: Capture) -> bool:
        """Whether without it refunds would leave less than our settles took and may take (I4)."""
        return self.K - capture.value < sum(one.taken for one in self.commands if one.operation == "settle")

    def _uncover(self, capture: Capture) -> None:
        """What had failed has failed again; what else is lacking was never asked for."""
        for lack, part in reversed(capture.covered):
            lack.missing += min(part, max(0, self.unlisted))
        for sale in reversed([one for one in self.lacks if not one.ended]):
            listed = sum(one.missing for one in self.lacks if one.invoice == sale.invoice)
            asked = sum(one.taken for one in self.commands if one.operation == "settle" and one.invoice == sale.invoice)
            if (part := min(self.unlisted, sale.value - listed - asked)) > 0:
                self.lacks.append(Command("settle", NONE_YET, 0, sale.invoice, missing=part))

    def _judge(self, capture: Capture) -> None:
        """R27: booked at once within the open amount; else it waits for commands in flight, and must fit the cap."""
        payment, value = capture.payment, capture.value
        if value > payment.untouched:
            if payment.P + payment.D:
                self.captures.append(capture)
                return
            if value > payment.unused + payment.booked:
                self.suspects.append(capture)
                return
            payment.recipients.add(payment.booked_parts.take(payment.booked))
            payment.C, payment.booked = payment.C - payment.booked, 0
        payment.S += value
        payment.captures.append(capture)
        capture.left, capture.parts = value, payment.recipients.take(value)
        capture.covered = self._cover(payment, value)
        self._give_back(self.K if self.phase == "canceled" else self.K - self.V)

    def _lack(self, due: int, invoice: int) -> None:
        self.lacks.append(Command("settle", NONE_YET, due, invoice, missing=max(0, self.unlisted)))  # R27

    def _settle(self) -> None:
        """R4: what invoices lack, the oldest first; R16: without room it waits."""
        for invoice in sorted({one.invoice for one in self.lacks}):
            lacks = [one for one in self.lacks if one.invoice == invoice and not one.ended]
            for payment, part in self._parts(sum(one.missing for one in lacks), "open", "room"):
                _reduce(lacks, part)
                self._ask("settle", payment, part, invoice)

    def _lose(self, command: Command) -> None:
        command.missing = max(0, self.unlisted)
        self.lacks.append(command)

    def _cover(self, payment: Payment, value: int) -> list[tuple[Command, int]]:
        """R27: covers the oldest invoice first, and there what the same payment failed to capture."""
        lacks = sorted(self.lacks, key=lambda one: (one.invoice, one.given_up or one.payment is not payment))
        before = [(one, one.missing) for one in lacks if one.ended]
        _reduce(lacks, -self.unlisted if value else 0)
        return [(one, missing - one.missing) for one, missing in before]

    def _refund(self) -> None:
        """R21: from the lowest S, and there from the oldest capture; the rest waits."""
        for refund in self.refunds:
            if refund.stored and self.phase == "open":
                continue  # R20
            for payment in sorted(self.payments, key=lambda one: (self.card_first and not one.card, one.S)):
                for capture in payment.captures:
                    part = min(refund.missing, capture.left)
                    refund.missing, capture.left = refund.missing - part, capture.left - part
                    self._ask("refund", payment, part)

    def _give_back(self, amount: int) -> None:
        if amount > 0:
            self.excess += amount
            self.refunds.append(Command("refund", NONE_YET, amount, missing=amount))
            self._refund()

    def _is_done(self) -> bool:
        """R5: nothing is in flight, waiting or failed, except failed and manual voids."""
        money = [one for one in self.commands if one.operation != "cancel"]
        failed = any(one.missing and not one.given_up for one in money)
        in_flight = any(one.state in ("sent", "unknown", "suspect", "doubted") for one in self.commands)
        manual = any(one.state == "manual" for one in money)
        waits = self.waiting or any(one.missing for one in self.refunds) or self.captures
        return not (failed or in_flight or manual or waits or self.suspects)

    def _void_rest(self) -> None:
        """R5, R22: voids all that is open, but not what finishing or abandoned voids left, which is for operators."""
        for payment in self.payments:
            voids = [one for one in self.commands if one.payment is payment and one.operation == "cancel"]
            kept = [one for one in voids if one.final or (one.given_up and self.phase != "canceled")]
            again = [one for one in voids if one not in kept]
            kept = [one for one in kept if not (one.final and self._only_books(payment))]
            left = payment.open - sum(one.missing for one in kept)
            if (value := max(min(sum(one.missing for one in again), payment.open), left)) > 0:
                for one in again:
                    one.missing = 0
                self._void(payment, value, final=True)

    def _void(self, payment: Payment, value: int, final: bool = False) -> None:
        self._ask("cancel", payment, value, final=final)

    def _only_books(self, payment: Payment) -> bool:
        return False

    def _may_send(self, command: Command, value: int) -> bool:
        return True

    def _parts(self, amount: int, *limits: str) -> list[tuple[Payment, int]]:
        """R25: from the lowest A, later payments last; open amounts before the room above."""
        parts = dict.fromkeys(sorted(self.payments, key=lambda one: (one.later, one.A)), 0)
        for limit in limits:
            for payment, already in parts.items():
                most = payment.room if "room" in limits else payment.open  # a payment may be open, and have no room
                part = max(0, min(amount, most - already, getattr(payment, limit) - already))
                parts[payment], amount = already + part, amount - part
        return list(parts.items())

    def _ask(
        self, operation: str, payment: Payment, value: int, invoice: int = 0, final: bool = False, told: int = 0
    ) -> None:
        if value:
            parts = Recipients() if operation == "refund" else payment.recipients.take(value)
            self.commands.append(Command(operation, payment, value + told, invoice, final, reserved=value, parts=parts))
            vars(payment)[LETTERS[operation][0]] += value


def _reduce(commands: Iterable[Command], amount: int) -> int:
    """Reduces what the commands are missing by up to an amount; returns the reduction."""
    left = max(0, amount)
    for one in commands:
        part = min(left, one.missing)
        one.missing, left = one.missing - part, left - part
    return max(0, amount) - left
