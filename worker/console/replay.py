"""`settlement dlq replay`: dead letters go to their topic once more; `--dry-run` only shows what would be decided."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import structs

from worker.console.editor import in_editor
from worker.console.helping import examples
from worker.console.picking import All, Ids, Newer, OfCode, OfMerchant, OfOrder, OfTopic, Older, picked
from worker.console.problems import USAGE, fail
from worker.console.running import AsJson, progress, run, with_connection
from worker.console.screen import cell, number, out, show, show_json, table
from worker.domain.money import to_major
from worker.people import dead_letters, editing, replaying
from worker.people.acting import Actor, Connection
from worker.people.dead_letters import Filter, Letter
from worker.settings import Settings, load, with_embedded_stack

if TYPE_CHECKING:
    from worker.ledger.foreseeing import Foreseen

FORESEEN_SHOWN_MAX = 50
PER_SECOND = 500.0
FATES = {"applied": "green", "duplicate": "", "parked": "yellow", "dead_lettered": "red"}
REPLAY_EXAMPLES = examples(
    "settlement dlq replay 17 --dry-run",
    'settlement dlq replay 17 18 --by ana --reason "the order is there now"',
    'settlement dlq replay --code order_unknown --older 2h --by ana --reason "late orders" --per-second 50',
    """settlement dlq replay 17 --patch '{"invoiceValue": 6000}' --by ana --reason "typing error of the ERP" """,
)


def replay_command(
    ids: Ids = None, everything: All = False, topic: OfTopic = None, code: OfCode = None, merchant: OfMerchant = None,
    order: OfOrder = None, older: Older = None, newer: Newer = None,
    by: Annotated[str | None, typer.Option("--by", metavar="NAME", help="Your name; it is kept.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why; it is kept.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what the ledger would decide now.")] = False,
    edit: Annotated[bool, typer.Option("--edit", help="Open the message in $EDITOR first.")] = False,
    patch: Annotated[
        str | None, typer.Option("--patch", metavar="JSON", help="Change the message by a JSON merge patch.")
    ] = None,
    per_second: Annotated[float, typer.Option(min=0.1, help="At most so many a second.")] = PER_SECOND,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Publish dead letters to their topic once more; the ledger judges them again, once.

    May be stopped and typed again: what was replayed stays so. Of commands and outcomes a person decides instead.
    """
    wanted = picked(ids=ids, everything=everything, topic=topic, code=code, merchant=merchant, order=order, older=older,
                    newer=newer)  # fmt: skip
    edited = (edit or patch is not None) and _edited(wanted, edit=edit, patch=patch)
    settings = with_embedded_stack(load())
    if dry_run:
        _show_foreseen(*run(_foresee(settings, wanted, edited or None)), as_json=as_json)
        return
    if by is None or reason is None:
        fail("say who replays and why: --by NAME --reason TEXT (or look first: --dry-run)", USAGE)
    actor = Actor(by, reason)
    with progress("replayed") as told:
        plan, done = with_connection(
            lambda connection, settings: _replay(
                connection, settings, actor, wanted, edited or None, per_second, told
            )
        )  # fmt: skip
    if as_json:
        show_json({"replayed": done.sent, "too_large": done.too_large, "decided_instead": plan.decided_instead})
        return
    console = out()
    show(console, f"replayed {number(done.sent, 'dead letter')}")
    if done.too_large:
        show(console, cell(f"{done.too_large:,} are too large to be read: discard them", "yellow"))
    if plan.decided_instead:
        show(console, f"{plan.decided_instead:,} are commands or outcomes, of which a person decides: "
             "`settlement commands list`")  # fmt: skip


async def _replay(
    connection: Connection, settings: Settings, actor: Actor, wanted: Filter | Sequence[int], edited: bytes | None,
    per_second: float, told: Callable[[int, int], None],
) -> tuple[replaying.Plan, replaying.Replayed]:  # fmt: skip
    from worker.kafka.sink import Sink

    plan = await replaying.plan(connection, wanted)
    if not plan.ids:
        return plan, replaying.Replayed()
    sink = Sink(settings)
    try:
        await sink.start()
        return plan, await replaying.replay(
            connection, sink, actor, plan.ids, edited=edited, per_second=per_second,
            told=lambda done: told(done, len(plan.ids)),
        )  # fmt: skip
    finally:
        await sink.stop()


def _edited(wanted: Filter | Sequence[int], *, edit: bool, patch: str | None) -> bytes:
    """What is sent instead of the one dead letter that is named."""
    if isinstance(wanted, Filter) or len(wanted) != 1 or (edit and patch is not None):
        fail("--edit or --patch changes one dead letter: give one number and one of the two", USAGE)

    async def one(connection: Connection, _: Settings) -> Letter:
        [letter] = await dead_letters.letters(connection, wanted)
        replaying.refuse_replay(letter)
        return letter

    value = with_connection(one).record.value
    if patch is not None:
        return editing.patched(value, patch)
    return editing.rewritten(value, in_editor(editing.readable(value)))


async def _foresee(
    settings: Settings, wanted: Filter | Sequence[int], edited: bytes | None
) -> tuple[list[int], list["Foreseen"]]:
    from worker.ledger.checking import snapshot
    from worker.ledger.foreseeing import foresee

    async with snapshot(settings) as connection:
        ids = (await replaying.plan(connection, wanted)).ids
        records = await replaying.records(connection, ids, edited)
        return ids, await foresee(connection, settings, records, time.time_ns() // 1_000_000)


def _show_foreseen(ids: list[int], foreseen: list["Foreseen"], *, as_json: bool) -> None:
    if as_json:
        show_json([{"id": one, **structs.asdict(said)} for one, said in zip(ids, foreseen, strict=True)])
        return
    console = out()
    rows = list(zip(ids, foreseen, strict=True))
    console.print(table(("id", "order", "would be", "because", "asks for"), [
        (str(one), said.order_id, cell(said.fate.replace("_", "-"), FATES[said.fate]), _because(said), _asks(said))
        for one, said in rows[:FORESEEN_SHOWN_MAX]
    ], right=("id",)))  # fmt: skip
    if len(rows) > FORESEEN_SHOWN_MAX:
        show(console, cell(f"… and {len(rows) - FORESEEN_SHOWN_MAX:,} more; --json shows all", "dim"))
    counted = ", ".join(f"{many:,} {fate.replace('_', '-')}" for fate, many in Counter(
        one.fate for one in foreseen).most_common())  # fmt: skip
    show(
        console,
        f"{number(len(ids), 'dead letter')} would be judged now: {counted or 'nothing to do'}; nothing was sent",
    )


def _because(said: "Foreseen") -> str:
    if said.reason is not None:
        return f"{said.reason}: {said.message}"
    return said.events[0].reason if said.events else "it is known already" if said.fate == "duplicate" else ""


def _asks(said: "Foreseen") -> str:
    return ", ".join(
        f"{one.operation} {to_major(one.value, said.currency) if said.currency else one.value}" for one in said.commands
    )
