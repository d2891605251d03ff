"""The rules of `docs/rules.md` about money as plain sums, written independently of the domain; read from top to bottom.

The letters are those of the rules. Of a payment: A authorized, M its cap, S settled, C voided, F refunded, and P, D, G
in flight. Of the order: V its value, O invoiced, R returned, K taken.

It covers PARTIAL orders whose commands succeed, are short or declined, and are retried by operators. It does not cover
TOTAL and HOLD, interest, recipients, lapsed authorizations, uncertain outcomes (unknown, manual, suspect), resolutions
and abandonments, the merchant's switches, repeats, and facts that arrive too early.
"""

from collections.abc import Iterable
from dataclasses import dataclass

LETTERS = {"settle": ("P", "S"), "cancel": ("D", "C"), "refund": ("G", "F")}  # in flight, and done


class Payment:
    def __init__(self, name: str, authorized: int, cap: int, later: bool = False) -> None:
        self.name, self.A, self.M, self.later = name, authorized, cap, later
        self.S = self.P = self.C = self.D = self.F = self.G = 0
        self.captures: list[int] = []  # the refundable rest of each, the oldest first

    @property
    def room(self) -> int:  # for settles
        return self.M - self.S - self.P - self.C - self.D

    @property
    def open(self) -> int:  # for voids: the room below A
        return max(0, self.room - (self.M - self.A))


NONE_YET = Payment("", 0, 0)  # the payment of a waiting settle or refund


@dataclass(eq=False)
class Command:
    operation: str
    payment: Payment
    value: int
    invoice: int = 0  # the sale or return that it is for, if any
    final: bool = False  # the finishing void
    ended: bool = False
    missing: int = 0  # not done and not retried


class Reference:
    """A fact is a call that may return the rule that refuses it, or a new payment or capture; `settle_down` follows."""

    def __init__(self, value: int, payments: list[Payment]) -> None:
        self.V, self.O, self.R, self.phase = value, 0, 0, "open"
        self.excess = 0  # refunds of changes, surplus and cancellation
        self.payments = payments
        self.commands: list[Command] = []
        self.captures: list[tuple[Payment, int]] = []  # automatic settlements that are not decided yet
        self.lacks: list[Command] = []  # waiting and failed settles
        self.refunds: list[Command] = []  # waiting refunds
        self.suspect = self.ending = False

    @property
    def K(self) -> int:  # noqa: N802
        return sum(one.S + one.P for one in self.payments) - self.excess

    @property
    def unlisted(self) -> int:
        """The part of max(0, O − K), what accepted invoices lack, that is not listed in `lacks` yet."""
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
        """R32, R35: the done amount is booked; the rest is released and not requested automatically."""
        payment, (in_flight, booked) = command.payment, LETTERS[command.operation]
        vars(payment)[in_flight] -= command.value
        vars(payment)[booked] += done
        command.ended, command.missing = True, command.value - done  # that of a refund is kept for its retry (R21)
        if command.operation == "settle":
            payment.captures.append(done)
            waiting = [one for one in reversed(self.refunds) if not one.invoice]
            self.excess -= _reduce(waiting, command.missing)  # refunds that wait for this money are dropped (R15)
            command.missing = self.unlisted
            self.lacks.append(command)

    def retried(self, command: Command) -> None:
        """R39: a new command for at most the payment's room; the rest of a settle stays failed."""
        payment, missing = command.payment, command.missing
        value = min(missing, {"settle": payment.room, "cancel": payment.open, "refund": missing}[command.operation])
        if value:
            command.missing = missing - value if command.operation == "settle" else 0
            self._ask(command.operation, payment, value, command.invoice, command.final)

    def settle_down(self) -> None:
        """All automatic consequences."""
        captures, self.captures = self.captures, []
        for payment, value in captures:
            self._judge(payment, value)
        if self.phase == "open" and self.O >= self.V:
            self.phase = "invoiced"  # R5
        for lack in self.lacks:  # R4: what invoices lack, the oldest first; R16: without room it waits
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
        """R27: booked at once within the open amount; else it waits for commands in flight, and must fit the cap."""
        if value > payment.open and payment.P + payment.D:
            self.captures.append((payment, value))
        elif value > payment.room:
            self.suspect = True
        else:
            payment.S += value
            payment.captures.append(value)
            _reduce(sorted(self.lacks, key=lambda one: (one.invoice, one.payment is not payment)), -self.unlisted)
            self._give_back(self.K if self.phase == "canceled" else self.K - self.V)

    def _refund(self) -> None:
        """R21: from the lowest S, and there from the oldest capture; the rest waits."""
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
        """R5: nothing is in flight, waiting or failed, except failed voids."""
        failed = (one.missing and one.operation != "cancel" for one in self.commands)
        waits = (one.missing for one in self.lacks + self.refunds)
        in_flight = (not one.ended for one in self.commands)
        return not (any(failed) or any(waits) or any(in_flight) or self.captures or self.suspect)

    def _void_rest(self) -> None:
        """R5, R22: voids all that is open, but not what finishing voids left open, which is for operators."""
        for payment in self.payments:
            voids = [one for one in self.commands if one.payment is payment and one.operation == "cancel"]
            again = sum(one.missing for one in voids if not one.final)
            for_operators = sum(one.missing for one in voids if one.final)
            if (value := max(min(again, payment.open), payment.open - for_operators)) > 0:
                for one in voids:
                    one.missing = one.missing if one.final else 0
                self._ask("cancel", payment, value, final=True)

    def _parts(self, amount: int, *limits: str) -> list[tuple[Payment, int]]:
        """R25: from the lowest A, later payments last; open amounts before the room above."""
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


def _reduce(commands: Iterable[Command], amount: int) -> int:
    """Reduces what the commands are missing by up to an amount; returns the reduction."""
    left = amount
    for one in commands:
        part = min(left, one.missing)
        one.missing, left = one.missing - part, left - part
    return amount - left
