"""Checks what must hold after every decision: the invariants I1–I8, and what the rules promise at every moment."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import msgspec

from worker.domain.decision import Decision, Entry
from worker.domain.facts import Fact, OutcomeReported
from worker.domain.money import MAX_SUM
from worker.domain.order import Order, Payment
from worker.domain.possible import why_not_asked_again

Books = dict[str, Counter[str]]

_ACCOUNTS = (
    "authorized", "headroom", "settling", "settled", "refunding", "refunded", "voiding", "voided", "lapsed",
)  # fmt: skip
_SUMS = ("authorized", "settled", "settling", "refunded", "refunding", "voided", "voiding", "open")


class Broken(AssertionError):
    """An invariant or a promise of the rules that does not hold."""


def holds(law: str, condition: bool, *details: object) -> None:
    if not condition:
        raise Broken(f"{law}: {', '.join(map(str, details))}")


def check_retry(before: Order, fact: Fact, decision: Decision) -> None:
    """A retry is refused when it is typed exactly if the ledger would send nothing for it (R39)."""
    if not isinstance(fact, OutcomeReported) or fact.outcome != "retried" or decision.fate != "applied":
        return
    command = before.commands.get(fact.command_id)
    if command is not None and not command.in_flight and command.missing:
        asked = any(one.retry_of == command.command_id for one in decision.commands)
        holds("R39", asked == (why_not_asked_again(before, command.command_id) is None), "a retry", command)


def image(order: Order) -> bytes:
    """The order as bytes, to compare it with itself later."""
    return msgspec.json.encode(order)


def restored(order: Order) -> Order:
    """The order after it was stored and read again."""
    return msgspec.json.decode(image(order), type=Order)


def substance(order: Order) -> dict[str, Any]:
    """The fields of the order without the counters of decisions and events, and without refusals."""
    fields: dict[str, Any] = msgspec.to_builtins(order)
    for name in ("version", "events", "updated_at_ms", "refused"):
        del fields[name]
    return fields


def book(books: Books, entries: Iterable[Entry]) -> None:
    for entry in entries:
        holds("I1", entry.amount > 0 and isinstance(entry.amount, int), "an entry of", entry.amount)
        holds("I1", entry.debit != entry.credit, "an entry from an account to itself", entry)
        holds("I1", bool(entry.rule), "an entry without its rule", entry)
        books[entry.payment_id][entry.debit] -= entry.amount
        books[entry.payment_id][entry.credit] += entry.amount


def balances(payment: Payment) -> dict[str, int]:
    """The expected balances of a payment's accounts; the unused amount is `authorized` up to A, `headroom` up to M."""
    used = payment.settled + payment.settling + payment.voided + payment.voiding
    below, above = max(0, payment.authorized - used), payment.cap - max(payment.authorized, used)
    return {
        "authorized": 0 if payment.lapsed else below,
        "headroom": 0 if payment.lapsed else above,
        "lapsed": below + above if payment.lapsed else 0,
        "settling": payment.settling,
        "settled": payment.settled - payment.refunded - payment.refunding,
        "refunding": payment.refunding,
        "refunded": payment.refunded,
        "voiding": payment.voiding,
        "voided": payment.voided,
    }


def check_books(books: Books, order: Order) -> None:
    known = {payment.payment_id for payment in order.payments}
    holds("I8", set(books) <= known, "entries of payments that the order does not have", set(books) - known)
    for payment in order.payments:
        found = {name: books[payment.payment_id][name] for name in _ACCOUNTS}
        wanted = balances(payment)
        differing = {name: (found[name], wanted[name]) for name in wanted if found[name] != wanted[name]}
        holds("I8", not differing, payment.payment_id, "fold of the entries and balance differ", differing)
        holds("I1", sum(books[payment.payment_id].values()) == 0, "entries do not sum to zero")


def check_payment(payment: Payment) -> None:
    name = payment.payment_id
    for field in ("settled", "settling", "voided", "voiding", "refunded", "refunding", "booked",
                  "settled_reference", "settling_reference", "voided_reference", "booked_reference"):  # fmt: skip
        holds("I3", getattr(payment, field) >= 0, name, field, "is negative:", getattr(payment, field))
    gone = payment.refunded + payment.refunding
    holds("I2", gone <= payment.settled, name, f"F + G is {gone}, S is {payment.settled}")
    used = payment.settled + payment.settling + payment.voided + payment.voiding
    holds("I3", used <= payment.cap, name, f"S + P + C + D is {used}, M is {payment.cap}")
    if payment.shares:
        left, more = sum(one.rest for one in payment.shares), payment.authorized - used
        holds("R3", left == more, name, f"its recipients have still to receive {left}, the payment has {more}")
    holds("I3", payment.booked <= payment.voided, name, "more booked as voided than voided")
    for one in payment.settlements:
        fits = min(one.value, one.refunded, one.refunding, one.kept_for_retry, one.refundable) >= 0
        holds("I2", fits, name, "a settlement gives more than it has", one)
    holds("I8", sum(one.value for one in payment.settlements) == payment.settled, name, "settlements are not S")
    holds("I8", sum(one.refunded for one in payment.settlements) == payment.refunded, name, "refunds are not F")
    holds(
        "I8",
        sum(one.refunding for one in payment.settlements) == payment.refunding,
        name,
        "in flight is not G",
    )
    ids = [one.settle_id for one in payment.settlements]
    holds("I5", len(ids) == len(set(ids)), name, "two settlements of one id", ids)


def check_commands(order: Order) -> None:
    lines: defaultdict[str, list[int]] = defaultdict(list)
    flying: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for key, one in order.commands.items():
        holds("I5", key == one.command_id, "a command under another id", key)
        holds("I1", one.value > 0, "a command of", one.value, one)
        lines[one.payment_id].append(one.sequence)
        if one.in_flight:
            flying[one.payment_id][one.operation] += one.value - one.booked_before
        if one.shares and one.operation == "settle":
            holds("R3", sum(amount for amount, _ in one.shares) == one.value, "shares do not sum", one)
            holds("R3", all(amount >= 0 and more >= 0 for amount, more in one.shares), "a negative share", one)
    for payment_id, sequences in lines.items():
        whole = sorted(sequences) == list(range(1, len(sequences) + 1))
        holds("I6", whole, payment_id, "its commands are not 1..n", sequences)
    requests = [one.request_id for one in order.commands.values()]
    holds("I5", len(requests) == len(set(requests)), "two commands share a requestId")
    for payment in order.payments:
        ours = flying[payment.payment_id]
        for operation, balance in (
            ("settle", payment.settling), ("cancel", payment.voiding), ("refund", payment.refunding)
        ):  # fmt: skip
            holds("I8", ours[operation] == balance, payment.payment_id, operation, "in flight is", balance,
                  "its commands say", ours[operation])  # fmt: skip


def check_order(order: Order) -> None:
    if not order.opened:
        return
    holds("I8", sum(one.amount for one in order.lacks) == order.lacking, "lacks do not sum to O − K", order.lacks,
          f"O {order.invoiced} K {order.taken}")  # fmt: skip
    holds("I8", all(one.amount > 0 for one in order.lacks), "a lack of nothing", order.lacks)
    lacks: Counter[str] = Counter()
    for one in order.lacks:
        lacks[one.invoice] += one.amount
    for number, amount in lacks.items():
        invoice = order.invoices[number]
        holds("I8", invoice.output and amount <= invoice.due, f"{amount} lack of", invoice)
    failed = sum(one.amount for one in order.lacks if one.kind in ("failed", "short"))
    behind = sum(one.missing for one in order.commands.values() if one.operation == "settle")
    holds("R39", failed <= behind, f"{failed} failed, and only {behind} can be asked again or given up", order.lacks)
    if order.mode != "PARTIAL":
        unfound = sum(one.amount for one in order.lacks if one.kind in ("waiting", "lapsed"))
        left = max(0, order.value - order.taken)
        holds("R39", unfound + behind + order.given_up <= left,
              f"{behind} failed and {order.given_up} given up leave nothing for {unfound} of {left}")  # fmt: skip
    holds("I8", all(one.amount > 0 for one in order.demands), "a refund of nothing waits", order.demands)
    due = sum(one.due for one in order.invoices.values() if one.output)
    holds("I8", due == order.invoiced, f"O is {order.invoiced}, its invoices say {due}")
    back = sum(one.due for one in order.invoices.values() if not one.output)
    holds("I8", back == order.returned, f"R is {order.returned}, its returns say {back}")
    holds("R6", order.invoiced <= order.value, f"O {order.invoiced} > V {order.value}")
    holds("R18", order.returned <= order.invoiced, f"R {order.returned} > O {order.invoiced}")
    limit = 0 if order.phase == "canceled" else order.value
    holds("R30", order.taken <= limit, f"K {order.taken} > V {limit}")
    holds("R30", order.taken >= 0, f"K is {order.taken}")
    kept = sum(one.refundable for payment in order.payments for one in payment.settlements)
    holds("R22", order.phase != "canceled" or kept == 0, "canceled, and kept of what was captured", kept)
    if order.mode == "PARTIAL":
        done = sum(min(one.done_reference, one.reference) for one in order.commands.values()
                   if one.operation == "settle" and one.state == "succeeded")  # fmt: skip
        holds("I4", done <= order.invoiced, f"settled {done} for invoices of {order.invoiced}")
    if order.phase == "open":
        holds("R5", order.invoiced < order.value, "invoiced in full, and still open")
    elif order.phase in ("invoiced", "finished"):
        holds(
            "R5",
            order.invoiced == order.value,
            f"{order.phase}, and O {order.invoiced} is not V {order.value}",
        )
    if order.phase == "finished":
        for payment in order.payments:
            holds("R5", payment.settling == 0, "finished, and a settle is in flight", payment.payment_id)


def check_decision(before: Order, decision: Decision) -> None:
    """What each fate promises, and that the sequences continue."""
    order, events = decision.order, decision.events
    wanted = list(range(before.events + 1, before.events + 1 + len(events)))
    holds("I7", [one.sequence for one in events] == wanted, "events are not in sequence", events)
    holds("I7", order.events == before.events + len(events), "the order miscounts its events")
    for event in events:
        holds("R31", all((event.type, event.rule, event.reason)), "an event without rule or reason", event)
        fit = all(abs(number) <= MAX_SUM for number in event.numbers.values() if isinstance(number, int))
        holds("R9", fit, "an event with a number that no message can have", event)
    for command in decision.commands:
        holds("I5", command.command_id not in before.commands, "an id is used again", command)
    holds("I8", set(order.commands) - set(before.commands) == {one.command_id for one in decision.commands},
          "a command was decided and not given out")  # fmt: skip
    silent = not (decision.entries or decision.commands or events)
    match decision.fate:
        case "parked":
            holds(
                "R29",
                silent and substance(order) == substance(before),
                "a parked fact left a trace",
                decision,
            )
            holds("R29", decision.refusal is None, "parked and refused")
        case "duplicate":
            holds("R8", silent and substance(order) == substance(before), "a duplicate left a trace", decision)
            holds("R8", decision.refusal is None, "a duplicate is refused", decision.refusal)
        case "refused":
            refusal = decision.refusal
            assert refusal is not None, "R31: refused without a refusal"
            holds("R31", bool(refusal.rule and refusal.reason), "a refusal without rule or reason", refusal)
            holds("R31", not (decision.entries or decision.commands), "a refused fact moved money", decision)
            telling = [one for one in events if one.type.endswith((".rejected", ".suspect"))]
            holds("R31", len(telling) == 1 == len(events), "a refusal is one event", events)
            holds("R31", telling[0].rule == refusal.rule, "event and refusal name other rules", telling, refusal)
        case "applied":
            suspect = decision.refusal is not None and decision.refusal.code == "suspect"  # R27: remembered, not booked
            holds("R31", decision.refusal is None or suspect, "applied and refused", decision.refusal)
            holds("R27", not suspect or not decision.entries, "a suspect amount was booked", decision)


def check_step(books: Books, before: Order, decision: Decision) -> None:
    """All checks of one decision, after its entries are booked into `books`."""
    book(books, decision.entries)
    check_decision(before, decision)
    order = decision.order
    if order.opened:
        check_books(books, order)
        for payment in order.payments:
            check_payment(payment)
        check_commands(order)
        check_order(order)
        check_modes(order)
        check_at_par(order)
        check_waiting(order)
        check_given_up(order)
    holds("I8", restored(order) == order, "the order does not survive being stored")


def check_modes(order: Order) -> None:
    """What the table of modes promises at every moment."""
    for payment in order.payments:
        name, mine = (
            payment.payment_id,
            [one for one in order.commands.values() if one.payment_id == payment.payment_id],
        )
        if payment.settles_once:
            asks = [one for one in mine if one.operation == "settle" and one.retry_of is None]
            holds("TOTAL", len(asks) <= 1, name, "was asked to settle more than once by itself", asks)
            voids = [one for one in mine if one.operation == "cancel"]
            whole = all(one.value == payment.authorized for one in voids if one.retry_of is None)
            holds("TOTAL", whole, name, "a cancel of less than all of it", voids)
        else:
            holds("PARTIAL", payment.booked == 0, name, "a void was booked and not sent")


def check_given_up(order: Order) -> None:
    """R39: where one settle covers all invoices, an abandoned amount is never requested again, whatever is invoiced."""
    if order.mode == "PARTIAL" or order.awaits_connectors or order.phase == "canceled":
        holds("R39", order.given_up == 0 or order.mode != "PARTIAL", "given up as of a total", order.given_up)
        return
    listed = sum(one.amount for one in order.lacks if one.kind == "abandoned")
    missing = sum(one.missing for one in order.commands.values() if one.operation == "settle")
    left = max(0, order.value - order.taken)
    holds("R39", listed <= order.given_up, "invoices lack more that was given up", listed, order.given_up)
    holds("R39", missing + order.given_up <= left, "more failed or was given up than is left", missing, order.given_up)


def check_at_par(order: Order) -> None:
    """Without interest, reference and real values are equal everywhere."""
    if any(payment.authorized != payment.reference for payment in order.payments):
        return
    for payment in order.payments:
        real = (payment.settled, payment.settling, payment.voided + payment.voiding, payment.booked)
        counted = (payment.settled_reference, payment.settling_reference, payment.voided_reference,
                   payment.booked_reference)  # fmt: skip
        holds("R26", real == counted, payment.payment_id, "real value", real, "counts as", counted)
        for one in payment.settlements:
            gone = one.refunded + one.refunding + one.kept_for_retry
            same = (one.value, gone) == (one.reference, one.reference_taken)
            holds("R26", same, "a settlement counts otherwise than it is", one)


def check_waiting(order: Order) -> None:
    """R16: nothing waits while a payment has room (payments that settle once are asked when the order is invoiced)."""
    if order.mode != "PARTIAL" or order.awaits_connectors or order.phase == "canceled":
        return
    waits = sum(one.amount for one in order.lacks if one.kind in ("waiting", "held"))
    at_par = all(payment.authorized == payment.reference for payment in order.payments)
    for payment in order.payments if waits else ():
        gone = payment.untouched == 0 and not payment.lapsed and not payment.settles_once
        holds("R26", not gone or payment.untouched_reference == 0, f"{waits} wait, and of {payment.payment_id} nothing",
              "real is left for", payment.untouched_reference)  # fmt: skip
    if waits and at_par:
        for payment in order.payments:
            if payment.lapsed or payment.settles_once:
                continue
            most = payment.authorized if payment.shares else payment.cap
            used = payment.settled + payment.settling + payment.voided + payment.voiding
            holds("R16", used >= most, f"{waits} wait, and {payment.payment_id} has room for", most - used)


def books_of(order: Order) -> Books:
    """The balances that an order must have, to check a step without those before it."""
    books: Books = defaultdict(Counter)
    for payment in order.payments:
        books[payment.payment_id].update(balances(payment))
        books[payment.payment_id]["issuer"] = -payment.cap
    return books


def check_state(state: dict[str, Any]) -> None:
    """The sums and the status of a snapshot agree with its parts."""
    for name in _SUMS:
        parts = [payment[name] for payment in state["payments"]]
        holds("snapshot", state[name] == sum(parts), name, state[name], "is not the sum of", parts)
        holds("snapshot", all(part >= 0 for part in parts), name, "is negative", parts)
    troubled = any(one["code"] for one in state["attention"])
    wanted = "attention" if troubled else state["phase"]
    holds("snapshot", state["status"] == wanted, "status", state["status"], "with", state["attention"])
