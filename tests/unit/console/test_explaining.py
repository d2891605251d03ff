"""The explanation of where each cent came from."""

import re
from io import StringIO
from pathlib import Path

from rich.console import Console

from tests.unit.domain.scenario import Scenario, pay
from worker.console.explaining import show_entries
from worker.people.money import MEANINGS
from worker.people.orders import OrderPage

ENTRY = {"fact": 1, "payment_id": "p", "debit": "issuer", "credit": "authorized", "amount": 10_000, "rule": "R25",
         "command_id": None, "kind": "order.authorized", "about": None, "topic": "erp.order-changes.v1", "partition": 0,
         "offset": 0}  # fmt: skip


def test_lines_are_not_padded_to_the_width_of_the_terminal():
    page = OrderPage("o1", None, [], {}, [], [], [], [], [], [ENTRY])
    written = StringIO()

    show_entries(Console(file=written, width=240, color_system=None), page, lambda minor: f"{minor / 100:.2f}")

    [entry] = [line for line in written.getvalue().splitlines() if "issuer" in line]
    assert entry == "    100.00  issuer → authorized  R25  the issuer promised it"


def test_every_pair_of_accounts_that_entries_use_has_a_meaning(project: Path):
    stories = (project / "tests/unit/domain/stories.txt").read_text()
    used = set(re.findall(r"^    \d+ (\w+) -> (\w+) on ", stories, re.MULTILINE))
    # No story releases an amount after its room was used otherwise, or after the expiry.
    capped, total = pay("p1", 10_000, cap=15_000), pay("p1", 10_000, cap=15_000, by="total")
    for scenario in (
        Scenario(pay("p1", 10_000, in_hours=48)).play("hold; discount 2000; wait 49h; declined cancel 2000"),
        Scenario(capped)
        .play("hold; Out 6000; discount 4000; manual settle 6000; resolve 8000 settle 6000 as X")
        .play("declined cancel 4000"),
        Scenario(capped, value=20_000).play(
            "auto 9000 as Y; auto 3000 as X; hold; Out 12000; Out 3000; ok settle 3000 as X"
        ),
        Scenario(pay("p1", 10_000, in_hours=48, by="total")).play("discount 2000; wait 49h; auto 10000"),
        Scenario(total).play(
            "discount 2000; hold; Out 8000; manual settle 8000; resolve 12000 settle 8000 as X; auto 2000"
        ),
    ):
        used |= {(entry.debit, entry.credit) for entry in scenario.entries}

    assert used == MEANINGS.keys()
