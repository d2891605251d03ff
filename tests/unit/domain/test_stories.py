"""`stories.txt` shows, for each kind of day, everything that is asked, booked and told: nothing more, nothing less.

After each step of a play (`>`, in the words of world.py) come, in this order, what connectors are asked for (`?`), what
is booked (amount, from, to, and the rule that moved it) and what the order's timeline tells (`!`), with the numbers
and the cause. Commands are called #1, #2 … as they were decided. After a change that is meant, write the file anew and
read what differs: `python -m tests.unit.domain.test_stories`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.domain.world import World, pay, recipient
from worker.domain.decision import Entry, Event
from worker.domain.order import Command

PAGE = Path(__file__).with_name("stories.txt")
WORLDS: dict[str, Callable[[], World]] = {
    "PARTIAL": World,
    "TOTAL": lambda: World(by="total"),
    "HOLD": lambda: World(by="hold"),
    "a 7000, b 3000": lambda: World(pay("a", 7000), pay("b", 3000)),
    "TOTAL a 7000, b 3000": lambda: World(pay("a", 7000, by="total"), pay("b", 3000, by="total")),
    "with a cap of 12000": lambda: World(pay("p1", 10000, cap=12000)),
    "10800 for 10000": lambda: World(pay("p1", 10800, reference=10000)),
    "expires in 48h": lambda: World(pay("p1", 10000, cap=12000, in_hours=48)),
    "returns after invoiced": lambda: World(returns="after_invoiced"),
    "split x 6000, y 4000": lambda: World(
        pay("p1", 10000, by="split", recipients=(recipient("x", 6000, 600), recipient("y", 4000)))
    ),
    "TOTAL, split x 6000, y 4000": lambda: World(
        pay("p1", 10000, by="total", recipients=(recipient("x", 6000), recipient("y", 4000)))
    ),
}


def _stories() -> list[tuple[str, list[str]]]:
    """Each story's heading, and its lines."""
    stories: list[tuple[str, list[str]]] = []
    for line in PAGE.read_text("utf-8").splitlines():
        if line.startswith("# "):
            stories.append((line, []))
        elif line:
            stories[-1][1].append(line)
    return stories


def _played(heading: str, steps: list[str]) -> Iterator[str]:
    world = WORLDS[heading.rpartition(" | ")[2]]()
    yield from _since(world, 0, 0, 0)
    for step in steps:
        seen = len(world.issued), len(world.entries), len(world.events)
        world.say(step)
        yield f"> {step}"
        yield from _since(world, *seen)


def _since(world: World, commands: int, entries: int, events: int) -> Iterator[str]:
    names = {one.command_id: f"#{place}" for place, one in enumerate(world.issued, start=1)}
    yield from (_asked(one, names) for one in world.issued[commands:])
    yield from (_booked(one, names) for one in world.entries[entries:])
    yield from (_told(one, names) for one in world.events[events:])


def _asked(one: Command, names: dict[str, str]) -> str:
    more = {
        "reference": one.reference if one.reference != one.value else None, "settle": one.settle_id,
        "retries": names.get(one.retry_of or ""), "told late": one.told_late, "shares": one.shares,
        "covers": ", ".join(f"{amount} of {number}" for number, amount in one.covers),
    }  # fmt: skip
    told = "".join(f", {name} {value}" for name, value in more.items() if value)
    return (
        f"  ? {names[one.command_id]} {one.operation} {one.value} on {one.payment_id}, its {one.sequence}., "
        f"for {one.cause_kind} {one.cause_id}{told}"
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


@pytest.mark.parametrize(("heading", "lines"), _stories(), ids=lambda value: value if isinstance(value, str) else "")
def test_everything_that_is_asked_booked_and_told(heading: str, lines: list[str]) -> None:
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
