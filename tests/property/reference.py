"""Partial settlement on one page: what `docs/rules.md` says about money, as plain sums, to be read from top to bottom.

The letters are those of the rules. Of a payment: A authorized, M its cap, S settled, C voided, F refunded, and P, D, G
in flight. Of the order: V its value, O invoiced, R returned, K taken.

These are PARTIAL orders whose commands succeed, come short or are declined, and are asked for again by people. Left out
are TOTAL and HOLD, interest, recipients, authorizations that lapse, outcomes in doubt (unknown, manual, suspect), what
people resolve and abandon, the merchant's switches, repeats, and facts that come too early.
"""

from collections.abc import Iterable
from dataclasses import dataclass

LETTERS = {"settle": ("P", "S"), "cancel": ("D", "C"), "refund": ("G", "F")}  # in flight, and done


class Payment:
    def __init__(self, name: str, authorized: int, cap: int, later: bool = False) -> None:
        self.name, self.A, self.M, self.later = name, authorized, cap, later
        self.S = self.P = self.C = self.D = self.F = self.G = 0
        self.captures: list[int] = []  # what each still has to refund, the oldest first

    @property
    def room(self) -> int:  # for settles
        return self.M - self.S - self.P - self.C - self.D

    @property
    def open(self) -> int:  # for voids: the room below A
        return max(0, self.room - (self.M - self.A))


NONE_YET = Payment("", 0, 0)  # of what waits: a settle for room, a refund for money


@dataclass(eq=False)
class Command:
    operation: str
    payment: Payment
    value: int
    invoice: int = 0  # the sale or return that it is for, if any
    final: bool = False  # a void of what the end leaves open
    ended: bool = False
    missing: int = 0  # not done, and not asked for again


class Reference:
    """Facts are calls that return the rule that refuses them, or new payments or captures; then comes `settle_down`."""

    def __init__(self, value: int, payments: list[Payment]) -> None:
        self.V, self.O, self.R, self.phase = value, 0, 0, "open"
        self.excess = 0  # refunds that changes, surplus or cancellation decided
        self.payments = payments
        self.commands: list[Command] = []
        self.captures: list[tuple[Payment, int]] = []  # of the gateway, not judged yet
        self.lacks: list[Command] = []  # settles that wait, or failed
        self.refunds: list[Command] = []  # that wait
        self.suspect = self.ending = False

    @property
    def K(self) -> int:  # noqa: N802
        return sum(one.S + one.P for one in self.payments) - self.excess

    @property
    def unlisted(self) -> int:
        """Accepted invoices lack max(0, O − K), since the pool, K − O, serves them first: what of it is not listed."""
        return max(0, self.O - self.K) - sum(one.missing for one in self.lacks)

    def sold(self, invoice: int, value: int) -> str | None:
        if self.phase == "canceled":
            return "R22"
        if self.phase == "open":  # later it moves nothing (R7)
            due = min(value, self.V - self.O)  # R6
            self.O += due
            self.lacks.append(Command("settle", NONE_YET, due, invoice, missing=self.unlisted))  # R27
        return None

    def returned(self, invoice: int, value: int) -> str | None:
        if self.phase == "canceled":
            return "R22"
        if self.R + value > self.O - sum(one.missing for one in self.lacks if one.ended):
            return "R18"
        self.R += value  # and O stays (R19)
        self.refunds.append(Command("refund", NONE_YET, value, invoice, missing=value))
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
                self._ask("cancel", payment, part)
            self._give_back(refund)
        return None

    def canceled(self) -> str | None:
        if self.O:
            return "R23"
        self.phase = "canceled"  # R22
        self._void_rest()
        self._give_back(self.K)
        return None

    def answered(self, command: Command, done: int) -> None:
        """R32, R35: what was done is booked, the rest is released, and nothing asks for it by itself."""
        payment, (in_flight, booked) = command.payment, LETTERS[command.operation]
        vars(payment)[in_flight] -= command.value
        vars(payment)[booked] += done
        command.ended, command.missing = True, command.value - done  # a refund's is kept for its retry (R21)
        if command.operation == "settle":
            payment.captures.append(done)
            waiting = [one for one in reversed(self.refunds) if not one.invoice]
            self.excess -= _strike(waiting, command.missing)  # what waits for this money falls away (R15)
            command.missing = self.unlisted
            self.lacks.append(command)

    def retried(self, command: Command) -> None:
        """R39: a new command, for as much as the payment has; what a settle does not find stays failed."""
        payment, missing = command.payment, command.missing
        value = min(missing, {"settle": payment.room, "cancel": payment.open, "refund": missing}[command.operation])
        if value:
            command.missing = missing - value if command.operation == "settle" else 0
            self._ask(command.operation, payment, value, command.invoice, command.final)

    def settle_down(self) -> None:
        """What follows by itself."""
        captures, self.captures = self.captures, []
        for payment, value in captures:
            self._judge(payment, value)
        if self.phase == "open" and self.O >= self.V:
            self.phase = "invoiced"  # R5
        for lack in self.lacks:  # R4: exactly what an invoice lacks, the oldest first; R16: what finds no room waits
            for payment, part in () if lack.ended else self._parts(lack.missing, "open", "room"):
                lack.missing -= part
                self._ask("settle", payment, part, lack.invoice)
        self._refund()
        self.ending |= self.phase == "invoiced" and self._is_done()
        if self.ending or self.phase == "canceled":
            self._void_rest()
        if self.ending and all(one.ended for one in self.commands if one.final):
            self.phase = "finished"

    def _judge(self, payment: Payment, value: int) -> None:
        """R27: what fits what is open is booked at once; else it waits for commands in flight, and must fit the cap."""
        if value > payment.open and payment.P + payment.D:
            self.captures.append((payment, value))
        elif value > payment.room:
            self.suspect = True
        else:
            payment.S += value
            payment.captures.append(value)
            _strike(sorted(self.lacks, key=lambda one: (one.invoice, one.payment is not payment)), -self.unlisted)
            self._give_back(self.K if self.phase == "canceled" else self.K - self.V)

    def _refund(self) -> None:
        """R21: from the lowest S, there from the oldest capture; what is not captured yet is waited for."""
        for refund in self.refunds:
            for payment in sorted(self.payments, key=lambda one: one.S):
                for place, left in enumerate(payment.captures):
                    part = min(refund.missing, left)
                    refund.missing, payment.captures[place] = refund.missing - part, left - part
                    self._ask("refund", payment, part)

    def _give_back(self, amount: int) -> None:
        if amount > 0:
            self.excess += amount
            self.refunds.append(Command("refund", NONE_YET, amount, missing=amount))
            self._refund()

    def _is_done(self) -> bool:
        """R5: nothing is in flight, waits or failed; a void that failed holds nothing up."""
        failed = (one.missing and one.operation != "cancel" for one in self.commands)
        waits = (one.missing for one in self.lacks + self.refunds)
        in_flight = (not one.ended for one in self.commands)
        return not (any(failed) or any(waits) or any(in_flight) or self.captures or self.suspect)

    def _void_rest(self) -> None:
        """R5, R22: what is open, with what voids of changes did not free; what these do not free is for people."""
        for payment in self.payments:
            voids = [one for one in self.commands if one.payment is payment and one.operation == "cancel"]
            again = sum(one.missing for one in voids if not one.final)
            for_people = sum(one.missing for one in voids if one.final)
            if (value := max(min(again, payment.open), payment.open - for_people)) > 0:
                for one in voids:
                    one.missing = one.missing if one.final else 0
                self._ask("cancel", payment, value, final=True)

    def _parts(self, amount: int, *limits: str) -> list[tuple[Payment, int]]:
        """R25: from the lowest A, later payments last; all that is open, before what has room above."""
        parts = dict.fromkeys(sorted(self.payments, key=lambda one: (one.later, one.A)), 0)
        for limit in limits:
            for payment, already in parts.items():
                part = min(amount, getattr(payment, limit) - already)
                parts[payment], amount = already + part, amount - part
        return list(parts.items())

    def _ask(self, operation: str, payment: Payment, value: int, invoice: int = 0, final: bool = False) -> None:
        if value:
            self.commands.append(Command(operation, payment, value, invoice, final))
            vars(payment)[LETTERS[operation][0]] += value


def _strike(commands: Iterable[Command], amount: int) -> int:
    """Takes up to an amount from what they are missing; how much that was."""
    left = amount
    for one in commands:
        part = min(left, one.missing)
        one.missing, left = one.missing - part, left - part
    return amount - left
