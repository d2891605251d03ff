"""`stories.txt` shows for each kind of order all requests, entries, events and refusals: nothing more, nothing less.

After each step (`>`, in the notation of scenario.py) come, in this sequence: requests to connectors (`?`), entries
(amount, accounts and rule), events (`!`) with numbers and cause, refusals (`x`), and all changed fields of the order
(`=`). After an intended change, write the file again and read the difference:
`python -m tests.unit.domain.test_stories`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import asdict

from tests.unit.domain.scenario import Scenario, pay, recipient
from worker.domain.decision import Entry, Event
from worker.domain.order import Command

PAGE = Path(__file__).with_name("stories.txt")
SCENARIOS: dict[str, Callable[[], Scenario]] = {
    "PARTIAL": Scenario,
    "TOTAL": lambda: Scenario(by="total"),
    "HOLD": lambda: Scenario(by="hold"),
    "a 7000, b 3000": lambda: Scenario(pay("a", 7000), pay("b", 3000)),
    "TOTAL a 7000, b 3000": lambda: Scenario(pay("a", 7000, by="total"), pay("b", 3000, by="total")),
    "with a cap of 12000": lambda: Scenario(pay("p1", 10000, cap=12000)),
    "10800 for 10000": lambda: Scenario(pay("p1", 10800, reference=10000)),
    "HOLD a 7000, b 3000": lambda: Scenario(pay("a", 7000, by="hold"), pay("b", 3000, by="hold")),
    "HOLD, expires in 48h": lambda: Scenario(pay("p1", 10000, by="hold", in_hours=48)),
    "10800 for 10000, with a cap of 12960": lambda: Scenario(pay("p1", 10800, reference=10000, cap=12960)),
    "100 for 10000": lambda: Scenario(pay("p1", 100, reference=10000)),
    "TOTAL, 100 for 10000": lambda: Scenario(pay("p1", 100, reference=10000, by="total")),
    "20 for 10": lambda: Scenario(pay("p1", 20, reference=10)),
    "a 3 for 10, b 20": lambda: Scenario(pay("a", 3, reference=10), pay("b", 20)),
    "a 60 for 6000, b 50 for 4000": lambda: Scenario(pay("a", 60, reference=6000), pay("b", 50, reference=4000)),
    "a 100 for 10000, b 60": lambda: Scenario(pay("a", 100, reference=10000), pay("b", 60)),
    "TOTAL a 7000, b 3000, c 2000": lambda: Scenario(
        pay("a", 7000, by="total"), pay("b", 3000, by="total"), pay("c", 2000, by="total")
    ),
    "a 10 for 1000, b 100 for 2000, with caps": lambda: Scenario(
        pay("a", 10, reference=1000, cap=20), pay("b", 100, reference=2000, cap=150)
    ),
    "9000 over TOTAL a 7000, b 3000": lambda: Scenario(
        pay("a", 7000, by="total"), pay("b", 3000, by="total"), value=9000
    ),
    "a 3000 expires in 24h, b 7000 in 48h": lambda: Scenario(pay("a", 3000, in_hours=24), pay("b", 7000, in_hours=48)),
    "expires in 48h": lambda: Scenario(pay("p1", 10000, cap=12000, in_hours=48)),
    "returns after invoiced": lambda: Scenario(returns="after_invoiced"),
    "split x 6000, y 4000": lambda: Scenario(
        pay("p1", 10000, by="split", recipients=(recipient("x", 6000, 600), recipient("y", 4000)))
    ),
    "split x 6000, y 4000, with a cap of 12000": lambda: Scenario(
        pay("p1", 10000, cap=12000, by="split", recipients=(recipient("x", 6000, 600), recipient("y", 4000)))
    ),
    "TOTAL, split x 6000, y 4000": lambda: Scenario(
        pay("p1", 10000, by="total", recipients=(recipient("x", 6000), recipient("y", 4000)))
    ),
}

# The fields that are shown; all others name or contain what is shown elsewhere.
_OF_THE_ORDER = ("phase", "mode", "value", "invoiced", "returned", "dropped", "given_back", "given_up", "taken")
_OF_A_COMMAND = ("state", "done", "done_reference", "operation_id", "missing", "abandoned")
_NAMED = ("_id", "settlements", "shares", "recipient", "connector", "sequence")


def _stories() -> list[tuple[str, list[str]]]:
    """The heading and the lines of each story."""
    stories: list[tuple[str, list[str]]] = []
    for line in PAGE.read_text("utf-8").splitlines():
        if line.startswith("# "):
            stories.append((line, []))
        elif line:
            stories[-1][1].append(line)
    return stories


def _played(heading: str, steps: list[str]) -> Iterator[str]:
    scenario = SCENARIOS[heading.rpartition(" | ")[2]]()
    yield from _since(scenario, (0, 0, 0, 0), {})
    for step in steps:
        before = _held(scenario)
        seen = len(scenario.issued), len(scenario.entries), len(scenario.events), len(scenario.refusals)
        scenario.play(step)
        yield f"> {step}"
        yield from _since(scenario, seen, before)


def _since(scenario: Scenario, seen: tuple[int, int, int, int], before: dict[str, dict[str, Any]]) -> Iterator[str]:
    names = _names(scenario)
    commands, entries, events, refusals = seen
    yield from (_asked(one, names) for one in scenario.issued[commands:])
    yield from (_booked(one, names) for one in scenario.entries[entries:])
    yield from (_told(one, names) for one in scenario.events[events:])
    yield from (f"  x {one.code} [{one.rule}]" for one in scenario.refusals[refusals:])
    yield from _changed(before, _held(scenario))


def _names(scenario: Scenario) -> dict[str, str]:
    return {one.command_id: f"#{place}" for place, one in enumerate(scenario.issued, start=1)}


def _asked(one: Command, names: dict[str, str]) -> str:
    more = {
        "reference": one.reference if one.reference != one.value else None, "settle": one.settle_id,
        "retries": names.get(one.retry_of or ""), "told late": one.booked_before, "shares": one.shares,
        "covers": ", ".join(f"{amount} of {number}" for number, amount in one.covers),
    }  # fmt: skip
    details = "".join(f", {name} {value}" for name, value in more.items() if value)
    return (
        f"  ? {names[one.command_id]} {one.operation} {one.value} on {one.payment_id}, its {one.sequence}., "
        f"for {one.cause_kind} {one.cause_id}{details}"
    )


def _booked(one: Entry, names: dict[str, str]) -> str:
    command = f", {names[one.command_id]}" if one.command_id else ""
    return f"    {one.amount} {one.debit} -> {one.credit} on {one.payment_id} ({one.rule}{command})"


def _told(one: Event, names: dict[str, str]) -> str:
    numbers = ", ".join(f"{name} {names.get(str(value), value)}" for name, value in sorted(one.numbers.items()))
    reason = one.reason
    for command_id, name in names.items():
        reason = reason.replace(command_id, name)
    return f"  ! {one.type} [{one.rule}] {reason} | {numbers} | {one.cause_kind} {one.cause_id}"


def _held(scenario: Scenario) -> dict[str, dict[str, Any]]:
    """All values of the order and of its snapshot, by the part that they belong to."""
    order, state, names = scenario.order, scenario.state, _names(scenario)
    held = {"order": {name: getattr(order, name) for name in _OF_THE_ORDER} | {"status": state["status"]}}
    for payment, shown in zip(order.payments, state["payments"], strict=True):
        hidden = ("reference",) if payment.authorized == payment.reference else ()  # the same as the real value (R26)
        more = {"open": payment.open, "headroom": payment.headroom, "frozen": shown["frozen"]}
        held[f"payment {payment.payment_id}"] = _fields(payment, *hidden) | more
        for one in payment.settlements:
            covered = "; ".join(_plain(asdict(lack), names) for lack in one.covered)
            held[f"settlement {one.settle_id}"] = _fields(one, *hidden) | {"covered": covered}
        held |= {f"recipient {one.recipient.id}": _fields(one) for one in payment.shares}
    held |= {names[key]: {name: getattr(one, name) for name in _OF_A_COMMAND} for key, one in order.commands.items()}
    held |= {f"invoice {one.pop('invoiceNumber')}": one for one in state["invoices"]}
    lists = {"lacks": order.lacks, "refunds waiting": order.demands, "held": order.unbooked}
    held |= {name: {"now": "; ".join(_plain(asdict(one), names) for one in some)} for name, some in lists.items()}
    return held | {"attention": {"now": "; ".join(_plain(one, names) for one in state["attention"])}}


def _fields(one: Any, *hidden: str) -> dict[str, Any]:
    return {name: value for name, value in asdict(one).items() if not any(part in name for part in (*_NAMED, *hidden))}


def _plain(one: dict[str, Any], names: dict[str, str]) -> str:
    return ", ".join(f"{name} {names.get(str(value), value)}" for name, value in one.items() if value)


def _changed(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> Iterator[str]:
    for name, fields in after.items():
        known = before.get(name, {})
        changes = [
            f"{key} {value or 'none'}" for key, value in fields.items() if (value or None) != (known.get(key) or None)
        ]
        if changes:
            yield f"  = {name}: {', '.join(changes)}"
    yield from (f"  = {name}: gone" for name in before if name not in after)


@pytest.mark.parametrize(("heading", "lines"), _stories(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_step_of_a_story_requests_books_and_publishes_exactly_what_it_says(
    heading: str, lines: list[str]
) -> None:
    steps = [line.removeprefix("> ") for line in lines if line.startswith("> ")]

    assert list(_played(heading, steps)) == lines


def _write() -> None:
    written = [
        "\n".join([heading, *_played(heading, [line.removeprefix("> ") for line in lines if line.startswith("> ")])])
        for heading, lines in _stories()
    ]
    PAGE.write_text("\n\n".join(written) + "\n", "utf-8")


if __name__ == "__main__":
    _write()
