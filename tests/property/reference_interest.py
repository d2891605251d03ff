"""R26 as plain sums, written independently of the domain: PARTIAL orders whose payments carry interest.

Orders, invoices and changes count in reference value, commands and balances of payments in real value. Small letters
are reference values: of a payment, r in all, o its open part, s settled, p in flight, v voided or being voided. The
history is simple: sales, returns, changes and cancellations, and settles that succeed, come short or are declined.
"""

from dataclasses import dataclass, field
from fractions import Fraction

from tests.property.reference_recipients import Recipients


def share(x: int, w: int, o: int) -> int:
    """What x of o is worth if o is worth w: half even, and all of w for all of o."""
    return w if x == o else round(Fraction(x * w, o))


@dataclass(eq=False)
class Payment:
    name: str
    A: int
    r: int
    M: int
    S: int = 0
    P: int = 0
    C: int = 0
    D: int = 0
    F: int = 0
    G: int = 0
    s: int = 0
    p: int = 0
    v: int = 0
    captures: list[tuple[int, int]] = field(default_factory=list)  # the refundable rest of each: real, reference
    captured: int = 0  # the reference value of all captures; less than s: some counted as taken, but was worth 0
    recipients: Recipients = field(default_factory=Recipients)  # what they have still to receive

    @property
    def used(self) -> int:
        return self.S + self.P + self.C + self.D

    @property
    def open(self) -> int:
        return max(0, self.A - self.used)

    @property
    def o(self) -> int:
        return max(0, self.r - self.s - self.p - self.v)

    @property
    def above(self) -> int:
        return 0 if self.recipients.amounts else self.M - max(self.A, self.used)


@dataclass(eq=False)
class Command:
    operation: str
    payment: Payment
    value: int
    x: int
    invoice: int = 0
    final: bool = False
    ended: bool = False
    parts: Recipients = field(default_factory=Recipients)


@dataclass(eq=False)
class Waiting:
    amount: int  # reference value
    invoice: int = 0
    failed: bool = False


class Interest:
    def __init__(self, value: int, payments: list[Payment]) -> None:
        self.V, self.O, self.R, self.phase = value, 0, 0, "open"
        self.payments = payments
        self.excess = self.crumbs = self.refund_crumbs = 0  # crumbs: parts of 0, to be taken with the next command
        self.commands: list[Command] = []
        self.lacks: list[Waiting] = []
        self.refunds: list[Waiting] = []
        self.ending = False

    @property
    def K(self) -> int:  # noqa: N802
        return sum(one.s + one.p for one in self.payments) - self.excess

    @property
    def unlisted(self) -> int:
        return max(0, self.O - self.K) - sum(one.amount for one in self.lacks) - self.crumbs

    def sold(self, invoice: int, value: int) -> str | None:
        if self.phase == "canceled":
            return "R22"
        if self.phase == "open":
            self.O += min(value, self.V - self.O)
            self.lacks.append(Waiting(max(0, self.unlisted), invoice))
        return None

    def returned(self, invoice: int, value: int) -> str | None:
        if self.phase == "canceled":
            return "R22"
        if self.R + value > self.O - sum(one.amount for one in self.lacks if one.failed):
            return "R18"
        self.R += value
        self.refunds.append(Waiting(value, invoice))
        self._refund_all()
        return None

    def changed(self, discount: int, increment: int) -> str | None:
        before, after = self.V, self.V - discount + increment
        if self.phase != "open" or after == before or after <= 0 or after < self.O:
            return "R14"
        self.V = after
        if after < before:
            refund = max(0, self.K - after)
            spare = max(0, sum(one.o for one in self.payments) - max(0, after - self.K))
            left = min(before - after - refund, spare)
            for payment in self._in_order():
                x = min(left, payment.o)
                if x and (value := share(x, payment.open, payment.o)):
                    left -= x
                    self._ask("cancel", payment, value, x)
            self._give_back(refund)
        return None

    def canceled(self) -> str | None:
        if self.O:
            return "R23"
        self.phase = "canceled"
        self._void_rest()
        return None

    def answered(self, command: Command, done: int) -> None:
        """All of a void or refund is done; v of an asked w for reference x counts v·x/w."""
        payment, command.ended = command.payment, True
        x = share(done, command.x, command.value)
        if command.operation != "refund":
            payment.recipients.book(command.parts, done)
        match command.operation:
            case "cancel":
                payment.D, payment.C = payment.D - command.value, payment.C + done
            case "refund":
                payment.G, payment.F = payment.G - command.value, payment.F + done
            case _:
                payment.P, payment.S = payment.P - command.value, payment.S + done
                payment.p, payment.s = payment.p - command.x, payment.s + x
                payment.captures.append((done, x))
                payment.captured += x
                self._drop(command.x - x)
                self.lacks.append(Waiting(max(0, self.unlisted), command.invoice, failed=True))

    def settle_down(self) -> None:
        if self.phase == "open" and self.O >= self.V:
            self.phase = "invoiced"
        for lack in self.lacks:
            if lack.amount and not lack.failed:
                self._settle(lack)
        if self.phase != "open" or not any(one.open or one.above for one in self.payments):
            self.payments[0].s, self.crumbs = self.payments[0].s + self.crumbs, 0  # no next command: counts as taken
        self._refund_all()
        waits = any(one.amount for one in self.lacks + self.refunds)
        in_flight = any(not one.ended for one in self.commands)
        self.ending |= self.phase == "invoiced" and not waits and not in_flight
        if self.ending:
            self._void_rest()
            if all(one.ended for one in self.commands if one.final):
                self.phase = "finished"

    def _settle(self, lack: Waiting) -> None:
        """A part of 0 goes to the next payment; what is too small for all of them goes with the next command."""
        left, small = lack.amount + self.crumbs, 0
        parts = dict.fromkeys(self._in_order(), (0, 0))
        for payment in parts:
            x = min(left, payment.o)
            value = share(x, payment.open, payment.o) if x else 0
            if value or not payment.open:
                parts[payment], left = (x, value), left - x
            else:
                small = max(small, x)
        for payment, (below, worth) in parts.items():
            x = min(left, payment.above * payment.r // payment.A)
            if value := x * payment.A // payment.r:
                parts[payment], left = (below + x, worth + value), left - x
            else:
                small += x
        asked = sum(x for x, _ in parts.values())
        for payment, (x, value) in parts.items():
            self._ask("settle", payment, value, x, lack.invoice)
        if left and left <= small:
            self.crumbs, lack.amount = left, 0
        elif asked:
            self.crumbs, lack.amount = 0, left
        else:
            lack.amount = left - self.crumbs

    def _refund_all(self) -> None:
        """What was too small before may be worth something now: each refund changes the rate of its capture's rest."""
        for refund in self.refunds:
            self._refund(refund)

    def _refund(self, refund: Waiting) -> None:
        """From the lowest S, and there from the oldest capture, at the rate of its rest; crumbs as with settles."""
        if not refund.amount:
            return
        carried, small = self.refund_crumbs, False
        left = refund.amount + carried
        for payment in sorted(self.payments, key=lambda one: one.S):
            for place, (real, rest) in enumerate(payment.captures):
                x = min(left, rest)
                value = share(x, real, rest) if x else 0
                if value or not real:
                    payment.captures[place], left = (real - value, rest - x), left - x
                    self._ask("refund", payment, value, x)
                small |= x > 0 and not value and real > 0
        self.refund_crumbs = min(left, carried)
        refund.amount = left - self.refund_crumbs
        if any(one.P for one in self.payments):
            return  # the rest may still be worth something at the rate of a capture in flight
        if small:
            self.refund_crumbs, refund.amount = self.refund_crumbs + refund.amount, 0
        elif refund.amount <= sum(one.s - one.captured for one in self.payments):
            refund.amount = 0  # it counted as taken, but nothing was

    def _give_back(self, amount: int) -> None:
        if amount > 0:
            self.excess += amount
            self.refunds.append(Waiting(amount))
            self._refund_all()

    def _drop(self, amount: int) -> None:
        for refund in reversed(self.refunds):
            part = 0 if refund.invoice else min(amount, refund.amount)
            refund.amount, amount = refund.amount - part, amount - part
            self.excess -= part

    def _void_rest(self) -> None:
        for payment in self.payments:
            self._ask("cancel", payment, payment.open, payment.o, final=True)

    def _in_order(self) -> list[Payment]:
        return sorted(self.payments, key=lambda one: one.A)

    def _ask(self, operation: str, payment: Payment, value: int, x: int, invoice: int = 0, final: bool = False) -> None:
        if operation == "settle":
            payment.P, payment.p = payment.P + value, payment.p + (x if value else 0)
            payment.s += 0 if value else x  # no real value is left: counts as taken
        elif operation == "cancel" and value:
            payment.D, payment.v = payment.D + value, payment.v + x
        elif operation == "refund":
            payment.G += value
        if value:
            parts = Recipients() if operation == "refund" else payment.recipients.take(value)
            self.commands.append(Command(operation, payment, value, x, invoice, final, parts=parts))
