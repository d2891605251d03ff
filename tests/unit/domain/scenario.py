"""Plays one order through the domain: facts arrive, a scripted connector answers, operators decide, time passes.

Every step is checked against the laws. A play is a text of steps:

    Scenario().play("Out 6000; discount 1500; Out 2500")

    Out 6000 [as 1]                 an Output invoice; numbered consecutively if it has no number
    return 2500 [as r1]             an Input invoice
    discount 1500 [as c1]           a change of the order; increase 1500; change -1500 +1000
    cancel                          the shopper's cancellation
    auto 3500 [on p1] [as g1]       an automatic settlement by the gateway
    pay p2 1500 [of 1400] [max 1800] [by total] [in 48h]    another authorization, real value (of reference)
    wait 24h                        time passes, and deadlines are facts
    hold / go                       the connector withholds its answers / gives the withheld and all later ones
    ok settle 6000 [on p1] [as s9]  the withheld answer to a command; also declined, unknown, manual, suspect
    short 4500 settle 6000          … settled 4500 of the 6000
    retry settle 6000               an operator's decision; `#2` after a command means the second of that text
    resolve 6000 settle 6000 [as X] … done, with that value; `resolve not settle 6000`: not done
    abandon settle 6000             … also `abandon invoice 1` and `abandon auto g1`
    again                           the last fact is repeated
"""

import re
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from typing import Any, ClassVar, cast

from msgspec.structs import replace

from tests.unit.domain import laws
from worker.domain.decide import decide, next_deadline_ms
from worker.domain.decision import Decision, Entry, Event, Refusal
from worker.domain.facts import (
    Authorization,
    CancelRequested,
    ConnectorsNamed,
    Fact,
    InvoiceIssued,
    OrderAuthorized,
    OrderChanged,
    OutcomeKind,
    OutcomeReported,
    PaymentAuthorized,
    PaymentAutoSettled,
    Recipient,
    TimePassed,
    TrackingUpdated,
)  # fmt: skip
from worker.domain.order import Command, Order, Payment
from worker.domain.terms import HOUR_MS, Capability, Terms

ORDER = "o1"
START_MS = 1_800_000_000_000

CONNECTORS = {
    "partial": Capability("PARTIAL"),
    "total": Capability("TOTAL"),
    "hold": Capability("HOLD"),
    "legacy": Capability("PARTIAL", legacy=True),
    "split": Capability("PARTIAL", partial_split=True),
}


def pay(
    payment_id: str, value: int, *, reference: int | None = None, cap: int | None = None, by: str = "partial",
    group: str | None = None, in_hours: float | None = None, recipients: tuple[Recipient, ...] = (),
) -> Authorization:  # fmt: skip
    """An authorization; its expiry counts from the start of the scenario."""
    return Authorization(
        payment_id=payment_id, transaction_id=f"tx-{payment_id}", authorization_id=f"auth-{payment_id}",
        connector=by, value=value, reference_value=value if reference is None else reference,
        max_value=max(value, cap or 0), group=group, recipients=recipients,
        expires_at_ms=None if in_hours is None else START_MS + int(in_hours * HOUR_MS),
    )  # fmt: skip


def recipient(name: str, amount: int, commission: int | None = None) -> Recipient:
    return Recipient(
        id=name, name=name, document_type="CNPJ", document="1", role="seller", amount=amount,
        commission_amount=commission,
    )  # fmt: skip


def order_authorized(
    *payments: Authorization, value: int | None = None, merchant: str = "shop", currency: str = "USD"
) -> OrderAuthorized:
    total = sum(one.reference_value for one in payments) if value is None else value
    return OrderAuthorized(order_id=ORDER, merchant=merchant, currency=currency, value=total, payments=payments)


def added(payment: Authorization) -> PaymentAuthorized:
    return PaymentAuthorized(order_id=ORDER, payment=payment)


def out(number: str, value: int, currency: str | None = None) -> InvoiceIssued:
    return InvoiceIssued(
        order_id=ORDER, type="Output", invoice_number=number, invoice_value=value, currency=currency
    )  # fmt: skip


def ret(number: str, value: int, currency: str | None = None) -> InvoiceIssued:
    return InvoiceIssued(
        order_id=ORDER, type="Input", invoice_number=number, invoice_value=value, currency=currency
    )  # fmt: skip


def change(request: str, discount: int = 0, increment: int = 0, items: bool = False) -> OrderChanged:
    return OrderChanged(
        order_id=ORDER,
        request_id=request,
        discount_value=discount,
        increment_value=increment,
        items_changed=items,
    )


def cancel(reason: str = "the shopper changed her mind") -> CancelRequested:
    return CancelRequested(order_id=ORDER, reason=reason)


def auto(value: int, payment_id: str = "p1", settle_id: str = "g1") -> PaymentAutoSettled:
    return PaymentAutoSettled(order_id=ORDER, payment_id=payment_id, settle_id=settle_id, value=value)


def tracking(number: str, **fields: str | bool) -> TrackingUpdated:
    return TrackingUpdated(order_id=ORDER, invoice_number=number, fields=dict(fields))


def text(command: Command) -> str:
    return f"{command.operation} {command.value}"


class Scenario:
    """An order with its connector, its operators and its clock; every step is checked against the laws."""

    def __init__(
        self, *payments: Authorization, value: int | None = None, by: str = "partial", opened: bool = True,
        connectors: dict[str, Capability] | None = None, checked: bool = True, **switches: Any,
    ) -> None:  # fmt: skip
        self.order = Order(order_id=ORDER)
        self.payments = payments or (pay("p1", 10000 if value is None else value, by=by),)
        self.connectors = dict(CONNECTORS if connectors is None else connectors)
        self.switches = switches
        self.checked = checked
        self.now_ms = START_MS
        self.books: laws.Books = defaultdict(Counter)
        self.judged: list[tuple[Fact, Terms]] = []  # applied or refused facts, with their terms
        self.fold_of_judged = self.fold_of_accepted = Order(order_id=ORDER)
        self.folded = 0  # the number of judged facts that are in the folds
        self.decisions: list[Decision] = []
        self.entries: list[Entry] = []
        self.events: list[Event] = []
        self.issued: list[Command] = []
        self.refusals: list[Refusal] = []
        self.parked: list[Fact] = []
        self.fates: Counter[str] = Counter()
        self.queue: list[str] = []  # commands without an answer
        self.withheld: set[str] = set()  # commands whose answer the connector withholds, or an operator has to give
        self.holding = False
        self.scripts: defaultdict[str, deque[str]] = defaultdict(deque)
        self.operations = 0
        self.numbers: Counter[str] = Counter()
        self.last: Fact | None = None
        self.whole = True  # no law was broken
        if opened:
            self.give(order_authorized(*self.payments, value=value))

    # Facts

    def give(self, fact: Fact, **terms: Any) -> Decision:
        """Decides a fact, the facts that were parked for it, and all answers that follow."""
        self.last = fact
        decision = self.judge(fact, **terms)
        self.answer_all()
        if self.checked:
            self.check_fold()
        return decision

    def judge(self, fact: Fact, **terms: Any) -> Decision:
        """Decides a fact and the facts that were parked for it, without answers of the connector."""
        decision = self._decide(fact, **terms)
        if decision.unparks:
            waiting, self.parked = self.parked, []
            for one in waiting:
                self.judge(one)
        return decision

    def _decide(self, fact: Fact, **more: Any) -> Decision:
        self.now_ms += 1
        terms = Terms(now_ms=self.now_ms, capabilities=self._capabilities(fact), **{**self.switches, **more})
        before = self.order
        image = laws.image(before)
        decision = decide(before, fact, terms)
        laws.holds("pure", laws.image(before) == image, "decide changed what it was given", fact)
        self.fates[decision.fate] += 1
        self.decisions.append(decision)
        if decision.fate == "parked":
            self.parked.append(fact)
        self.whole = False
        laws.check_step(self.books, before, decision)
        laws.check_retry(before, fact, decision)
        self.whole = True
        if decision.fate in ("applied", "refused"):
            self.judged.append((fact, terms))
        self.order = decision.order
        self.entries += decision.entries
        self.events += decision.events
        self.issued += decision.commands
        self.queue += [one.command_id for one in decision.commands]
        if decision.refusal:
            self.refusals.append(decision.refusal)
        if self.checked and self.order.opened and not self.order.awaits_connectors:
            laws.check_state(self.state)
        return decision

    def _capabilities(self, fact: Fact) -> dict[str, Capability]:
        """The capabilities of the connectors that the fact or the waiting order names, if the file names them too."""
        match fact:
            case OrderAuthorized():
                named = {one.connector for one in fact.payments}
            case PaymentAuthorized():
                named = {fact.payment.connector}
            case ConnectorsNamed():
                named = {one.connector for one in self.order.payments}
            case _:
                named = set()
        if self.order.awaits_connectors:
            named |= {one.connector for one in self.order.payments}
        return {name: self.connectors[name] for name in sorted(named) if name in self.connectors}

    def check_fold(self) -> None:
        """I8: folds the accepted facts again, each with its terms; facts folded by an earlier check are skipped."""
        for fact, terms in self.judged[self.folded :]:
            decision = decide(self.fold_of_judged, fact, terms)
            self.fold_of_judged = decision.order
            if decision.fate == "applied":
                self.fold_of_accepted = decide(self.fold_of_accepted, fact, terms).order
        self.folded = len(self.judged)
        wanted = laws.substance(self.order)
        holds = laws.substance(self.fold_of_judged) == wanted
        laws.holds("I8", holds, "the fold of what was judged differs")
        holds = laws.substance(self.fold_of_accepted) == wanted
        laws.holds("I8", holds, "the fold of what was accepted differs")

    # The connector

    def script(self, operation: str, *answers: str) -> "Scenario":
        """Plans the answers to the next commands of one operation: ok, declined, short 4500, hold …"""
        self.scripts[operation].extend(answers)
        return self

    def answer_all(self) -> None:
        """Answers every command that may be answered, in its payment's order, until no new one follows."""
        while not self.holding and (command := self._next()):
            answers = self.scripts[command.operation]
            self.answer(command, answers.popleft() if answers else "ok")

    def _next(self) -> Command | None:
        """I6: the first unfinished command of the next payment; manual commands have left the queue."""
        blocked: set[str] = set()
        for command_id in self.queue:
            command = self.order.commands[command_id]
            if command.payment_id in blocked:
                continue
            if command.state == "sent" and command_id not in self.withheld:
                return command
            blocked.add(command.payment_id)
        return None

    def answer(self, command: Command, answer: str, operation_id: str | None = None) -> Decision | None:
        """Reports one answer of the connector, as the delivery worker does."""
        kind, _, amount = answer.partition(" ")
        if kind == "hold":
            self.withheld.add(command.command_id)
            return None
        self.withheld.discard(command.command_id)
        if kind in ("unknown", "suspect"):
            self.withheld.add(command.command_id)  # blocks the queue until an operator decides
        elif command.command_id in self.queue:
            self.queue.remove(command.command_id)
        done, outcome = 0, kind
        if kind in ("ok", "short"):
            self.operations += 1
            operation_id = operation_id or f"{command.operation}-{self.operations}"
            done, outcome = int(amount) if kind == "short" else command.value, "succeeded"
        return self.judge(self.outcome(outcome, command, value=done, operation_id=operation_id))

    def outcome(self, kind: str, command: Command, **more: Any) -> OutcomeReported:
        return OutcomeReported(
            order_id=ORDER, outcome=cast("OutcomeKind", kind),
            command_id=command.command_id, payment_id=command.payment_id,
            code=None if kind == "succeeded" else f"{kind}-code", attempts=1, at=f"at {self.now_ms}", **more,
        )  # fmt: skip

    # Operators

    def operator(self, kind: OutcomeKind, command: Command | None = None, **more: Any) -> Decision:
        at = f"at {self.now_ms}"
        fact = OutcomeReported(
            order_id=ORDER, outcome=kind, command_id=command.command_id if command else "",
            payment_id=command.payment_id if command else "", at=at, by="Ana", reason="seen at the acquirer", **more,
        )  # fmt: skip
        before = command.state if command else ""
        return self._decide_operator(fact, command, before)

    def _decide_operator(self, fact: OutcomeReported, command: Command | None, state: str) -> Decision:
        self.last = fact
        decision = self.judge(fact)
        if command and state in ("unknown", "suspect", "manual"):
            current = self.order.commands[command.command_id]
            if fact.outcome == "resolved" and not current.in_flight and command.command_id in self.queue:
                self.queue.remove(command.command_id)
                self.withheld.discard(command.command_id)
            if fact.outcome == "retried" and current.in_flight:
                self.withheld.discard(command.command_id)
        self.answer_all()
        if self.checked:
            self.check_fold()
        return decision

    def find(self, words: str, wanted: Callable[[Command], bool] = lambda _: True) -> Command:
        """The command of `settle 6000`, `settle 6000 on p2` or `settle 6000 #2`; without `#` the first wanted one."""
        match = re.fullmatch(r"(\w+) (\d+)(?: on (\S+))?(?: #(\d+))?", words.strip())
        assert match, f"no command reads {words!r}"
        operation, value, payment_id, nth = match.groups()
        named = [
            one for one in (self.order.commands[issued.command_id] for issued in self.issued)
            if one.operation == operation and one.value == int(value)
            and payment_id in (None, one.payment_id) and (nth or wanted(one))
        ]  # fmt: skip
        assert named, f"no command reads {words!r} among {self.commands}"
        return named[int(nth) - 1] if nth else named[0]

    # The results

    @property
    def commands(self) -> str:
        """All commands, in the sequence of the decisions."""
        return ", ".join(text(one) for one in self.issued)

    def commands_of(self, payment_id: str) -> str:
        return ", ".join(text(one) for one in self.issued if one.payment_id == payment_id)

    @property
    def state(self) -> dict[str, Any]:
        from worker.domain.published import order_state

        return order_state(self.order)

    @property
    def event_types(self) -> list[str]:
        return [one.type for one in self.events]

    def event(self, kind: str) -> Event:
        """The last event of its type."""
        found = [one for one in self.events if one.type == kind]
        assert found, f"no {kind} among {self.event_types}"
        return found[-1]

    @property
    def refused(self) -> list[str]:
        return [f"{one.code} {one.rule}" for one in self.refusals]

    def payment(self, payment_id: str = "p1") -> Payment:
        found = self.order.payment(payment_id)
        assert found is not None
        return found

    def total(self, name: str) -> int:
        return sum(getattr(payment, name) for payment in self.order.payments)

    def invoice(self, number: str) -> dict[str, Any]:
        found: dict[str, Any] = next(one for one in self.state["invoices"] if one["invoiceNumber"] == number)
        return found

    def lacks(self, kind: str) -> int:
        return sum(one.amount for one in self.order.lacks if one.kind == kind)

    @property
    def attention(self) -> list[tuple[str, int]]:
        return sorted((one["code"], one["amount"]) for one in self.state["attention"])

    _SUMS: ClassVar[dict[str, str]] = {
        "S": "settled", "P": "settling", "C": "voided", "D": "voiding", "F": "refunded", "G": "refunding",
        "open": "open", "A": "authorized",
    }  # fmt: skip

    def amounts(self) -> dict[str, int]:
        order = self.order
        found = {letter: self.total(name) for letter, name in self._SUMS.items()}
        waits = sum(one.amount for one in order.lacks if one.kind == "waiting")
        return found | {
            "V": order.value, "O": order.invoiced, "R": order.returned, "K": order.taken,
            "U": max(0, order.taken - order.invoiced), "waits": waits, "lacks": order.lacking,
            "refunds_wait": sum(one.amount for one in order.demands),
        }  # fmt: skip

    def shows(self, words: str) -> "Scenario":
        """`V 8500, S 8500, C 1500, finished`: amounts by their letter, and the status."""
        numbers = self.amounts()
        wanted = {name: int(amount) for name, amount in re.findall(r"(\w+) (\d+)", words)}
        status = re.findall(r"(?:^|[, ])(finished|invoiced|canceled|still open|attention)\b", words)
        seen = {name: numbers[name] for name in wanted}
        assert seen == wanted, f"seen {seen}, wanted {wanted}; commands {self.commands}; phase {self.order.phase}"
        for one in status:
            if one == "attention":
                assert self.state["status"] == "attention", f"no attention: {self.state['status']}"
            else:
                assert self.order.phase == one.removeprefix("still "), f"{self.order.phase}, wanted {one}"
        return self

    # The play as text

    def play(self, play: str) -> "Scenario":
        for step in filter(None, (part.strip() for part in play.split(";"))):
            self.step(step)
        return self

    def step(self, step: str) -> None:  # noqa: C901 (one branch a word of the play)
        word, _, rest = step.partition(" ")
        match word:
            case "Out" | "return":
                value, name = self._named(rest, "" if word == "Out" else "r")
                self.give(out(name, value) if word == "Out" else ret(name, value))
            case "discount" | "increase" | "change":
                amount, _, name = rest.partition(" as ")
                self.numbers["c"] += 1
                down = sum(int(one) for one in re.findall(r"-(\d+)", amount)) if word == "change" else 0
                up = sum(int(one) for one in re.findall(r"\+(\d+)", amount)) if word == "change" else 0
                down, up = (int(amount), 0) if word == "discount" else (down, up)
                down, up = (0, int(amount)) if word == "increase" else (down, up)
                self.give(change(name or f"c{self.numbers['c']}", down, up))
            case "cancel":
                self.give(cancel())
            case "auto":
                parts = re.fullmatch(r"(\d+)(?: on (\S+))?(?: as (\S+))?", rest)
                assert parts, step
                self.numbers["g"] += 1
                name = parts[3] or f"g{self.numbers['g']}"
                self.give(auto(int(parts[1]), parts[2] or self.payments[0].payment_id, name))
            case "pay":
                parts = re.fullmatch(r"(\S+) (\d+)(?: of (\d+))?(?: max (\d+))?(?: by (\S+))?(?: in (\d+)h)?", rest)
                assert parts, step
                self.give(added(pay(
                    parts[1], int(parts[2]), reference=int(parts[3]) if parts[3] else None,
                    cap=int(parts[4]) if parts[4] else None, by=parts[5] or "partial",
                    in_hours=int(parts[6]) if parts[6] else None,
                )))  # fmt: skip
            case "wait":
                self.wait(float(rest.removesuffix("h")))
            case "hold":
                self.holding = True
            case "go":
                self.holding = False
                for command_id in list(self.withheld):
                    if self.order.commands[command_id].state == "sent":
                        self.withheld.discard(command_id)
                self.answer_all()
            case "again":
                assert self.last is not None
                self.give(self.last)
            case "ok" | "declined" | "unknown" | "manual" | "suspect" | "short":
                self._withheld_answer(word, rest)
            case "retry" | "resolve" | "abandon":
                self._operator(word, rest)
            case _:
                raise AssertionError(f"{step!r} is no step; scenario.py lists them")
        if self.checked:
            self.check_fold()

    def _named(self, rest: str, prefix: str) -> tuple[int, str]:
        amount, _, name = rest.partition(" as ")
        if not name:
            self.numbers[prefix] += 1
            name = f"{prefix}{self.numbers[prefix]}"
        return int(amount), name

    def _withheld_answer(self, word: str, rest: str) -> None:
        if word == "short":
            amount, _, rest = rest.partition(" ")
            word = f"short {amount}"
        words, _, operation_id = rest.partition(" as ")
        self.answer(self.find(words, lambda one: one.state == "sent"), word, operation_id or None)
        self.answer_all()

    def _operator(self, word: str, rest: str) -> None:
        if word == "retry":
            self.operator(
                "retried",
                self.find(rest, lambda one: one.missing > 0 or one.state not in ("sent", "succeeded")),
            )
        elif word == "resolve":
            value, _, words = rest.partition(" ")
            words, _, operation_id = words.partition(" as ")
            command = self.find(words, lambda one: one.state in ("manual", "suspect", "unknown"))
            if value == "not":
                self.operator("resolved", command, value=0)
            else:
                self.operator("resolved", command, value=int(value), operation_id=operation_id or f"by-hand-{value}")
        elif rest.startswith("invoice "):
            self.operator("abandoned", invoice_number=rest.removeprefix("invoice "))
        elif rest.startswith("auto "):
            self.operator("abandoned", settle_id=rest.removeprefix("auto "))
        else:
            self.operator("abandoned", self.find(rest, lambda one: one.missing > 0 or one.state == "declined"))

    def wait(self, hours: float) -> "Scenario":
        """Lets time pass from now on; each deadline on the way is a fact of its own."""
        until = self.now_ms + int(hours * HOUR_MS)
        lead = self.switches.get("expiry_lead_ms", 24 * HOUR_MS)
        for _ in range(100):
            deadline = next_deadline_ms(self.order, lead)
            if deadline is None or deadline > until:
                break
            self.now_ms = max(self.now_ms, deadline)
            self.give(TimePassed(order_id=ORDER))
        else:
            raise AssertionError("a deadline that never passes")
        self.now_ms = max(self.now_ms, until)
        return self

    def name_connectors(self, **more: Capability) -> "Scenario":
        self.connectors.update(more)
        self.give(ConnectorsNamed(order_id=ORDER))
        return self


def with_value(fact: InvoiceIssued, value: int) -> InvoiceIssued:
    """The same invoice number with other content."""
    return replace(fact, invoice_value=value)
