"""What must hold for one order: its document, its rows and its entries agree, and all of them keep the rules."""

from collections import Counter
from collections.abc import Iterator, Sequence

from msgspec import Struct

from worker.domain import lacking
from worker.domain.order import Command, Order, Payment, Settlement
from worker.domain.published import needs_attention, needs_authorization
from worker.ledger.pages import Row

Finding = tuple[str, str]

# What a row says as the state does.
_SETTLEMENT = ("value", "refunded", "refunding", "automatic")
_COMMAND = ("request_id", "payment_id", "sequence", "operation", "value")
_IN_FLIGHT = {"settle": "settling", "refund": "refunding", "cancel": "voiding"}


class StoredOrder(Struct):
    """One order's document and all its rows."""

    order: Order
    row: Row
    counts: Row
    payments: Sequence[Row]
    settlements: Sequence[Row]
    commands: Sequence[Row]
    movements: Sequence[Row]


def check(stored: StoredOrder, home: int) -> Iterator[Finding]:
    """Yields each broken invariant of one order and a sentence."""
    yield from _header(stored, home)
    yield from _payments(stored)
    yield from _settlements(stored)
    yield from _commands(stored)
    yield from _one_effect(stored)
    yield from _fold(stored)
    yield from _sums(stored.order)


def accounts(payment: Payment) -> dict[str, int]:
    """What each account of a payment must hold."""
    return {
        "issuer": -payment.cap,
        "authorized": payment.open,
        "headroom": payment.headroom,
        "lapsed": payment.cap - payment.used if payment.lapsed else 0,
        "settling": payment.settling,
        "settled": payment.settled - payment.refunded - payment.refunding,
        "refunding": payment.refunding,
        "refunded": payment.refunded,
        "voiding": payment.voiding,
        "voided": payment.voided,
    }


def _header(stored: StoredOrder, home: int) -> Iterator[Finding]:
    order, row, counts = stored.order, stored.row, stored.counts
    in_state = {
        "opened": order.opened, "phase": order.phase, "version": order.version, "awaiting": order.awaits_connectors,
        "partition": home, "merchant": order.merchant or None, "attention": needs_attention(order),
        "needs_authorization": needs_authorization(order),
    }  # fmt: skip
    for name, value in in_state.items():
        if row[name] != value:
            yield "I8", f"{name} is {row[name]} in its row, {value} in its state"
    if not counts["facts"] == counts["last_fact"] == row["facts"] == order.version:
        numbered = f"{counts['facts']} facts, numbered to {counts['last_fact']}"
        yield "I8", f"{numbered}; its row says {row['facts']}, its state {order.version}"
    if not counts["events"] == counts["last_event"] == order.events:
        yield "I8", f"{counts['events']} events, numbered to {counts['last_event']}; its state says {order.events}"
    if counts["parked"] != row["parked"]:
        yield "I7", f"{counts['parked']} records wait, its row says {row['parked']}"


def _payments(stored: StoredOrder) -> Iterator[Finding]:
    rows = {row["payment_id"]: row for row in stored.payments}
    for payment in stored.order.payments:
        who = f"payment {payment.payment_id}"
        if payment.refunded + payment.refunding > payment.settled:
            yield "I2", f"{who}: {payment.refunded + payment.refunding} refunded of {payment.settled}"
        if payment.used > payment.cap:
            yield "I3", f"{who}: {payment.used} committed of at most {payment.cap}"
        if (row := rows.pop(payment.payment_id, None)) is None:
            yield "I8", f"{who} has no row of balances"
            continue
        yield from _row_of_payment(who, payment, row, stored.order.currency)
    for payment_id in rows:
        yield "I8", f"payment {payment_id} has a row of balances and is not in the state"


def _row_of_payment(who: str, payment: Payment, row: Row, currency: str) -> Iterator[Finding]:
    sums = ("authorized", "cap", "settled", "settling", "refunded", "refunding", "voided", "voiding", "lapsed")
    for name in (*sums, "connector"):
        if row[name] != getattr(payment, name):
            yield "I8", f"{who}: {name} is {row[name]} in its row, {getattr(payment, name)} in the state"
    if row["currency"] != currency:
        yield "I1", f"{who} is in {row['currency']}, its order in {currency}"
    committed = sum(row[name] for name in ("settled", "settling", "voided", "voiding"))
    if min(row[name] for name in sums) < 0 or committed > row["cap"]:
        yield "I3", f"{who}: its row of balances is negative or above its cap"


def _settlements(stored: StoredOrder) -> Iterator[Finding]:
    rows = {(row["payment_id"], row["settle_id"]): row for row in stored.settlements}
    for payment in stored.order.payments:
        for one in payment.settlements:
            who = f"settlement {one.settle_id} of payment {payment.payment_id}"
            if not 0 <= one.refunded + one.refunding + one.kept_for_retry <= one.value:
                yield "I2", f"{who}: {one.refunded + one.refunding} refunded of {one.value}"
            row = rows.pop((payment.payment_id, one.settle_id), None)
            if row is None or _differ(row, one, _SETTLEMENT):
                yield "I8", f"{who}: its row does not say what the state says"
        for name in ("refunded", "refunding"):
            total = sum(getattr(one, name) for one in payment.settlements)
            if total != getattr(payment, name):
                yield (
                    "I8",
                    f"payment {payment.payment_id}: its settlements add up to {total} {name}, its own sum is another",
                )
    for payment_id, settle_id in rows:
        yield "I8", f"settlement {settle_id} of payment {payment_id} has a row and is not in the state"


def _differ(row: Row, in_state: Settlement | Command, names: Sequence[str]) -> bool:
    return any(row[name] != getattr(in_state, name) for name in names)


def _commands(stored: StoredOrder) -> Iterator[Finding]:
    order, rows = stored.order, {row["command_id"]: row for row in stored.commands}
    for command in order.commands.values():
        row = rows.pop(command.command_id, None)
        if row is None or row["order_id"] != order.order_id or _differ(row, command, _COMMAND):
            yield "I5", f"command {command.command_id}: its row does not say what the state says"
    for command_id in rows:
        yield "I5", f"command {command_id} has a row and is not in the state"
    for payment in order.payments:
        line = sorted(one.sequence for one in order.commands.values() if one.payment_id == payment.payment_id)
        if line != list(range(1, payment.sequence + 1)):
            yield "I6", f"payment {payment.payment_id}: its commands are numbered {line}, not 1 to {payment.sequence}"


def _one_effect(stored: StoredOrder) -> Iterator[Finding]:
    """Each command was in flight once and ended at most once; no two share an operation at the connector."""
    into, out = Counter[str](), Counter[str]()
    for row in stored.movements:
        command = stored.order.commands.get(row["command_id"])
        if row["command_id"] and command is None:
            yield "I5", f"entries name command {row['command_id']}, which is not in the state"
        elif command is not None:
            account = _IN_FLIGHT[command.operation]
            into[command.command_id] += row["amount"] if row["credit"] == account else 0
            out[command.command_id] += row["amount"] if row["debit"] == account else 0
    effects = Counter[tuple[str, str | None]]()
    for command in stored.order.commands.values():
        asked = command.value - command.booked_before
        ended = 0 if command.in_flight else asked
        if (into[command.command_id], out[command.command_id]) != (asked, ended):
            moved = f"{into[command.command_id]} went in flight and {out[command.command_id]} came back, of {asked}"
            yield "I5", f"command {command.command_id} ({command.state}): {moved}"
        if command.state == "succeeded" and command.operation_id and not command.by_hand:
            effects[command.payment_id, command.operation_id] += 1
    for (payment_id, operation_id), number in effects.items():
        if number > 1:
            yield "I5", f"payment {payment_id}: {number} commands claim the connector's operation {operation_id}"


def _fold(stored: StoredOrder) -> Iterator[Finding]:
    """The balances are the fold of the entries (I8)."""
    sums: dict[str, Counter[str]] = {}
    for row in stored.movements:
        of_payment = sums.setdefault(row["payment_id"], Counter())
        of_payment[row["credit"]] += row["amount"]
        of_payment[row["debit"]] -= row["amount"]
        if row["currency"] != stored.order.currency:
            yield "I1", f"payment {row['payment_id']}: an entry is in {row['currency']}"
        if row["last_fact"] > stored.row["facts"]:
            yield "I8", f"an entry names fact {row['last_fact']} of {stored.row['facts']}"
    for payment in stored.order.payments:
        left = sums.get(payment.payment_id, Counter())
        for account, amount in accounts(payment).items():
            if left[account] != amount:
                sums_differ = f"its entries leave {left[account]} {account}, its state says {amount}"
                yield "I8", f"payment {payment.payment_id}: {sums_differ}"


def _sums(order: Order) -> Iterator[Finding]:
    settled = sum(_asked_part(one) for one in order.commands.values() if one.operation == "settle")
    if order.mode == "PARTIAL" and settled > order.invoiced:
        yield "I4", f"{settled} captured for invoices of {order.invoiced}"
    listed = sum(lack.amount for lack in order.lacks)
    if listed != order.lacking:
        yield "I8", f"its invoices lack {order.lacking}, but {listed} is listed as lacking"
    if order.opened and order.taken > order.value + lacking.total(order, "rounding"):
        yield "I8", f"{order.taken} is taken of an order of {order.value}"


def _asked_part(command: Command) -> int:
    """What a command settled for invoices, without what was captured above the asked amount."""
    return min(command.done_reference, command.reference) if command.cause_kind == "invoice" else 0
