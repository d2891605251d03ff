"""`--explain`: every entry of the ledger with the fact that made it, and what each account holds at the end."""

from collections import Counter
from collections.abc import Callable
from itertools import groupby

from rich.console import Console
from rich.padding import Padding

from worker.console.screen import cell, show, table
from worker.people.orders import Json, OrderPage, place

# What it means for money to go from one account to another.
MEANINGS = {
    ("issuer", "authorized"): "the issuer promised it",
    ("issuer", "headroom"): "may be captured above what was authorized",
    ("authorized", "settling"): "asked to be captured",
    ("headroom", "settling"): "asked to be captured, above what was authorized",
    ("settling", "settled"): "captured",
    ("settling", "authorized"): "not captured, free again",
    ("settling", "headroom"): "not captured, free again",
    ("settling", "lapsed"): "not captured, and the authorization lapsed",
    ("authorized", "settled"): "captured by the gateway itself",
    ("headroom", "settled"): "captured by the gateway itself",
    ("lapsed", "settled"): "captured by the gateway itself, though the authorization lapsed",
    ("settled", "authorized"): "counted before as the gateway's own capture",
    ("settled", "headroom"): "counted before as the gateway's own capture",
    ("settled", "lapsed"): "counted before as the gateway's own capture",
    ("authorized", "voiding"): "asked to be freed",
    ("voiding", "voided"): "freed: the shopper's limit is back",
    ("voiding", "authorized"): "not freed",
    ("voiding", "headroom"): "not freed",
    ("voiding", "lapsed"): "not freed, and the authorization lapsed",
    ("authorized", "voided"): "counted as freed; the connector is not told of the part",
    ("voided", "authorized"): "no longer counted as freed: the connector was never told",
    ("voided", "headroom"): "no longer counted as freed: the connector was never told",
    ("voided", "lapsed"): "no longer counted as freed: the connector was never told",
    ("settled", "refunding"): "asked to be refunded",
    ("refunding", "refunded"): "refunded",
    ("refunding", "settled"): "not refunded",
    ("settled", "refunded"): "refunded, beyond what was asked",
    ("authorized", "lapsed"): "the authorization ended",
    ("headroom", "lapsed"): "the authorization ended",
}
_INDENT = (0, 0, 0, 4)


def show_entries(console: Console, page: OrderPage, amount: Callable[[int], str]) -> None:
    """Fact by fact: where each cent came from, where it went, by which rule and for which command."""
    if not page.entries:
        return
    console.print()
    show(console, cell("where each cent came from", "bold"))
    asked = {one["command_id"]: f"{one['operation']} #{one['sequence']}" for one in page.requests}
    several = len({one["payment_id"] for one in page.entries}) > 1
    for _, entries in groupby(page.entries, key=lambda one: one["fact"]):
        group = list(entries)
        show(console, *_fact(group[0], asked))
        width = max(len(amount(one["amount"])) for one in group)
        rows = [
            (amount(one["amount"]).rjust(width), f"{one['debit']} → {one['credit']}",
             MEANINGS.get((one["debit"], one["credit"]), ""),
             " ".join(filter(None, (one["rule"], asked.get(one["command_id"], ""), one["payment_id"] * several))))
            for one in group
        ]  # fmt: skip
        console.print(Padding(table(("", "", "", ""), rows), _INDENT, expand=False))
    _show_sums(console, page, amount)


def _fact(one: Json, asked: dict[str, str]) -> tuple[object, ...]:
    about = f" {one['about']}" if one["about"] else ""
    what = f"outcome of {asked[one['about']]}" if one["about"] in asked else f"{one['kind']}{about}"
    return f"{one['fact']:>3} ", cell(what, "bold"), cell(f"  {place(one)}", "bright_black")


def _show_sums(console: Console, page: OrderPage, amount: Callable[[int], str]) -> None:
    """What each payment's accounts hold: the sum of everything above."""
    held: dict[str, Counter[str]] = {}
    for one in page.entries:
        account = held.setdefault(one["payment_id"], Counter())
        account[one["credit"]] += one["amount"]
        account[one["debit"]] -= one["amount"]
    for payment_id, account in held.items():
        left = ", ".join(f"{amount(sum_)} {name}" for name, sum_ in account.items() if sum_ > 0)
        show(console, cell("  in sum ", "bold"), f"payment {payment_id} holds {left}")
