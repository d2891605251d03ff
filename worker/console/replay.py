"""`settlement dlq replay`: publishes dead letters once more; `--dry-run` only shows what would be decided."""

import time
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import structs
from rich.console import Console

from worker.console.decision_options import BY, LETTER_REASON
from worker.console.editor import in_editor
from worker.console.help_text import examples
from worker.console.problems import USAGE, fail
from worker.console.running import AsJson, progress, run, with_connection
from worker.console.screen import cell, out, pluralize, show, show_json
from worker.console.selection import (
    All,
    Ids,
    Newer,
    OfCode,
    OfMerchant,
    OfOrder,
    OfTopic,
    Older,
    select,
)
from worker.console.tables import show_table
from worker.domain.money import to_major
from worker.embedded import with_embedded_stack
from worker.people import dead_letters, editing, replaying
from worker.people.acting import Actor
from worker.people.dead_letters import DeadLetter, Filter, Wanted
from worker.people.wording import OPERATIONS
from worker.postgres.connecting import Connection
from worker.settings import Settings, load

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
    by: Annotated[str | None, BY] = None,
    reason: Annotated[str | None, LETTER_REASON] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what the ledger would decide now.")] = False,
    edit: Annotated[bool, typer.Option("--edit", help="Open the message in $EDITOR first.")] = False,
    patch: Annotated[
        str | None, typer.Option("--patch", metavar="JSON", help="Change the message by a JSON merge patch.")
    ] = None,
    per_second: Annotated[float, typer.Option(min=0.1, help="At most this many a second.")] = PER_SECOND,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Publish dead letters to their topic once more; the ledger judges them again, once.

    Can be stopped and run again: nothing is replayed twice. Commands and outcomes are decided by a person instead.
    """
    matching = Filter(topic=topic, reason=code, merchant=merchant, order_id=order, before=older, since=newer)
    wanted = select(ids, everything, matching)
    if dry_run:
        edited = _edited(wanted, edit, patch)
        _show_foreseen(*run(_foresee(with_embedded_stack(load()), wanted, edited)), as_json=as_json)
        return
    if by is None or reason is None:
        fail("say who replays and why: --by NAME --reason TEXT (or look first: --dry-run)", USAGE)
    edited = _edited(wanted, edit, patch)
    _show_replayed(*_replay(Actor(by, reason), wanted, edited, per_second), as_json=as_json)


def _replay(
    actor: Actor, wanted: Wanted, edited: bytes | None, per_second: float
) -> tuple[replaying.Plan, replaying.Replayed]:
    """Replays under a progress bar."""
    from worker.kafka.sink import Sink

    settings = with_embedded_stack(load())

    async def plan_and_replay(connection: Connection) -> tuple[replaying.Plan, replaying.Replayed]:
        plan = await replaying.plan(connection, wanted)
        if not plan.ids:
            return plan, replaying.Replayed()
        async with Sink(settings) as sink:
            return plan, await replaying.replay(
                connection, sink, actor, plan.ids, edited=edited, per_second=per_second,
                on_progress=lambda done: report(done, len(plan.ids)),
            )  # fmt: skip

    with progress("replayed") as report:
        return with_connection(plan_and_replay)


def _show_replayed(plan: replaying.Plan, done: replaying.Replayed, *, as_json: bool) -> None:
    if as_json:
        show_json({"replayed": done.sent, "too_large": done.too_large, "decided_instead": plan.decided_instead,
                   "replayed_before": plan.replayed_before})  # fmt: skip
        return
    console = out()
    show(console, f"replayed {pluralize(done.sent, 'dead letter')}")
    if done.too_large:
        show(console, cell(f"too large to be read, to be discarded: {done.too_large:,}", "yellow"))
    _show_left_out(console, plan)


def _show_left_out(console: Console, plan: replaying.Plan) -> None:
    if plan.replayed_before:
        show(console, f"replayed before: {plan.replayed_before:,}; `settlement dlq show ID` tells what became of it")
    show_decided_instead(console, plan.decided_instead)


def show_decided_instead(console: Console, number: int) -> None:
    """Says how many of the selected dead letters stay as they are."""
    if number:
        show(console, f"commands or outcomes, of which a person decides: {number:,}; `settlement commands list`")


def _edited(wanted: Wanted, edit: bool, patch: str | None) -> bytes | None:
    """Returns the value to send instead of that of the one selected dead letter; None: it is sent unchanged."""
    if not edit and patch is None:
        return None
    if isinstance(wanted, Filter) or len(wanted) != 1 or (edit and patch is not None):
        fail("--edit or --patch changes one dead letter: give one number and one of the two", USAGE)

    async def replayable(connection: Connection) -> DeadLetter:
        [letter] = await dead_letters.read(connection, wanted)
        replaying.refuse_replay(letter)
        return letter

    value = with_connection(replayable).record.value
    if patch is not None:
        return editing.patched(value, patch)
    return editing.rewritten(value, in_editor(editing.editable(value)))


async def _foresee(settings: Settings, wanted: Wanted, edited: bytes | None) -> tuple[replaying.Plan, list["Foreseen"]]:
    from worker.ledger.foreseeing import foresee
    from worker.postgres.snapshot import snapshot

    async with snapshot(settings.database, name="settlement-dlq") as connection:
        plan = await replaying.plan(connection, wanted)
        records = await replaying.records_to_send(connection, plan.ids, edited)
        return plan, await foresee(connection, settings, records, time.time_ns() // 1_000_000)


def _show_foreseen(plan: replaying.Plan, foreseen: list["Foreseen"], *, as_json: bool) -> None:
    rows = list(zip(plan.ids, foreseen, strict=True))
    if as_json:
        show_json([{"id": id_, **structs.asdict(judged)} for id_, judged in rows])
        return
    console = out()
    if rows:
        show_table(console, ("id", "order", "would be", "asks for", "because"), [
            (id_, judged.order_id, cell(judged.fate.replace("_", "-"), FATES[judged.fate]), _commands(judged),
             _because(judged))
            for id_, judged in rows[:FORESEEN_SHOWN_MAX]
        ], right=("id",))  # fmt: skip
    if len(rows) > FORESEEN_SHOWN_MAX:
        show(console, cell(f"… and {len(rows) - FORESEEN_SHOWN_MAX:,} more; --json shows all", "dim"))
    fates = Counter(one.fate for one in foreseen)
    counted = ", ".join(f"{count:,} {fate.replace('_', '-')}" for fate, count in fates.most_common())
    show(
        console,
        f"{pluralize(len(rows), 'dead letter')} would be judged now: {counted or 'nothing to do'}; nothing was sent",
    )
    _show_left_out(console, plan)


def _because(judged: "Foreseen") -> str:
    if judged.reason is not None:
        return f"{judged.reason}: {judged.message}"
    return judged.events[0].reason if judged.events else "it is known already" if judged.fate == "duplicate" else ""


def _commands(judged: "Foreseen") -> str:
    return ", ".join(
        f"{OPERATIONS[one.operation]} {to_major(one.value, judged.currency) if judged.currency else one.value}"
        for one in judged.commands
    )
