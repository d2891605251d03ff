"""`--explain`: every entry of the ledger with the fact that made it, and what each account holds at the end."""

from collections import Counter
from collections.abc import Callable

from rich.console import Console

from worker.console.screen import cell, show
from worker.console.tables import show_table
from worker.people.money import MEANINGS
from worker.people.orders import Json, OrderPage, place
from worker.people.wording import OPERATIONS

_INDENT = 4


def show_entries(console: Console, page: OrderPage, amount: Callable[[int], str]) -> None:
    """Shows the entries of each fact: amount, accounts, their meaning, rule and command."""
    if not page.entries:
        return
    console.print()
    show(console, cell("where each cent came from", "bold"))
    commands = {one["command_id"]: f"{OPERATIONS[one['operation']]} #{one['sequence']}" for one in page.requests}
    several = len({entry["payment_id"] for entry in page.entries}) > 1
    for of_fact in page.entries_by_fact():
        show(console, *_fact_line(of_fact[0], commands))
        width = max(len(amount(entry["amount"])) for entry in of_fact)
        rows = [
            (amount(one["amount"]).rjust(width), f"{one['debit']} → {one['credit']}",
             " ".join(filter(None, (one["rule"], commands.get(one["command_id"], ""), one["payment_id"] * several))),
             MEANINGS.get((one["debit"], one["credit"]), ""))
            for one in of_fact
        ]  # fmt: skip
        show_table(console, ("",) * 4, rows, indent=_INDENT)
    _show_sums(console, page, amount)


def _fact_line(entry: Json, commands: dict[str, str]) -> tuple[object, ...]:
    about = entry["about"]
    fact = f"outcome of {commands[about]}" if about in commands else f"{entry['kind']}{f' {about}' if about else ''}"
    return f"{entry['fact']:>3} ", cell(fact, "bold"), cell(f"  {place(entry)}", "bright_black")


def _show_sums(console: Console, page: OrderPage, amount: Callable[[int], str]) -> None:
    """Shows what each payment's accounts hold after all entries."""
    accounts: dict[str, Counter[str]] = {}
    for entry in page.entries:
        balances = accounts.setdefault(entry["payment_id"], Counter())
        balances[entry["credit"]] += entry["amount"]
        balances[entry["debit"]] -= entry["amount"]
    for payment_id, balances in accounts.items():
        held = ", ".join(f"{amount(balance)} {name}" for name, balance in balances.items() if balance > 0)
        show(console, cell("  in sum ", "bold"), f"payment {payment_id} holds {held}")
