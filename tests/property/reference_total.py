"""What differs in TOTAL and HOLD: one settle of V − K per payment, and voids that are only booked.

A failed settle may be missing what no invoice lacks yet. The rules say how much of V − K is failed or abandoned in all;
which of several failed settles is missing less after a capture or a discount they leave open, see `agree`.
"""

from tests.property.reference import Capture, Command, Payment, Reference


class Whole(Reference):
    hold = False
    fresh = False  # the last fact was a sale that the pool does not cover
    gone = 0  # of V − K: abandoned
    judged = False  # a capture was booked
    waited = 0  # before the last outcome

    @property
    def failed(self) -> int:
        return sum(one.missing for one in self.lacks)

    @property
    def unlisted(self) -> int:
        """What was never requested: V − K without what failed or was abandoned."""
        return max(0, self.V - self.K - self.failed - self.gone)

    @property
    def waiting(self) -> int:
        """What found no room is lacking only when O > K, in HOLD also O ≥ V."""
        return 0 if self._holds() else max(0, self.O - self.K - self.failed - self.gone)

    @property
    def lost(self) -> int:
        return 0 if self._holds() else super().lost

    def changed(self, discount: int, increment: int) -> str | None:
        refusal = super().changed(discount, increment)
        self._shrink()
        return refusal

    def answered(self, command: Command, done: int) -> None:
        self.waited = self.waiting
        super().answered(command, done)

    def abandoned(self, command: Command) -> None:
        if command.operation == "settle":
            self.gone, command.missing = self.gone + command.missing, 0
        super().abandoned(command)

    def _uncover(self, capture: Capture) -> None:
        """Nothing is listed: what is lacking is V − K."""

    def _led_to_a_refund(self, capture: Capture) -> bool:
        """V − K was asked for, with or without an invoice (I4)."""
        return False

    def agree(self, missing: dict[Command, int], gone: int) -> None:
        """Takes over what each settle is missing; the sum must be the same, or at most V − K after a capture."""
        total = sum(missing.values()) + gone
        assert total == self.failed + self.gone or (self.judged and total <= self.V - self.K)
        self.lacks, self.gone, self.judged = [one for one in missing if missing[one]], gone, False
        for command, amount in missing.items():
            command.missing = amount

    @property
    def abandoned_settles(self) -> int:
        return self.gone

    def _holds(self) -> bool:
        return self.hold and self.O < self.V

    def _lack(self, due: int, invoice: int) -> None:
        self.fresh = min(due, self.O - self.K) > 0

    def _settle(self) -> None:
        fresh, self.fresh = self.fresh, False
        if not (fresh or self.waiting) or self._holds() or self.phase == "canceled":
            return
        for payment, part in self._parts(self.unlisted, "open", "room"):
            self._ask("settle", payment, part)
            payment.asked |= part > 0

    def _lose(self, command: Command) -> None:
        lost, command.missing = command.missing, 0
        command.missing = max(0, min(lost, self.unlisted - self.waited))
        self.lacks.append(command)

    def _cover(self, payment: Payment, value: int) -> list[tuple[Command, int]]:
        self.judged |= value > 0
        covered = [(one, 0) for one in self.commands if one.missing]
        for command in self.lacks:
            if command.payment is payment and not command.given_up:
                part = min(value, command.missing)
                command.missing, value = command.missing - part, value - part
        self._shrink()
        return covered

    def _shrink(self) -> None:
        """What failed and was abandoned is never more than V − K."""
        over = self.failed + self.gone - max(0, self.V - self.K)
        part = max(0, min(over, self.gone))
        self.gone, over = self.gone - part, over - part
        for command in reversed(self.lacks):
            part = max(0, min(over, command.missing))
            command.missing, over = command.missing - part, over - part

    def _void(self, payment: Payment, value: int, final: bool = False) -> None:
        """Booked, not sent; but one cancel of A if all of it is voided and nothing settled."""
        if not self._only_books(payment) and payment.booked + value == payment.A:
            self._ask("cancel", payment, value, final=final, told=payment.booked)
        else:
            payment.C, payment.booked = payment.C + value, payment.booked + value
            payment.booked_parts.add(payment.recipients.take(value))

    def _only_books(self, payment: Payment) -> bool:
        return payment.S + payment.P > 0

    def _may_send(self, command: Command, value: int) -> bool:
        payment = command.payment
        return command.operation != "cancel" or (not self._only_books(payment) and value == payment.open)
