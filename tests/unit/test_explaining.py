"""Where each cent came from, as it stands in a file."""

from io import StringIO

from rich.console import Console

from worker.console.explaining import show_entries
from worker.people.orders import OrderPage

ENTRY = {"fact": 1, "payment_id": "p", "debit": "issuer", "credit": "authorized", "amount": 10_000, "rule": "R25",
         "command_id": None, "kind": "order.authorized", "about": None, "topic": "erp.order-changes.v1", "partition": 0,
         "offset": 0}  # fmt: skip


def test_no_line_is_filled_up_to_a_width_that_a_file_does_not_have():
    page = OrderPage("o1", None, [], [], [], [], [], [ENTRY])
    written = StringIO()

    show_entries(Console(file=written, width=240, color_system=None), page, lambda minor: f"{minor / 100:.2f}")

    [entry] = [line for line in written.getvalue().splitlines() if "issuer" in line]
    assert entry == "    100.00  issuer → authorized  the issuer promised it  R25"
