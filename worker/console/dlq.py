"""`settlement dlq …`: list, show, replay and discard dead letters."""

from datetime import UTC, datetime
from typing import Annotated, Literal

import typer

from worker.console.decision_options import BY, LETTER_REASON
from worker.console.help_text import examples
from worker.console.problems import USAGE, fail
from worker.console.replay import REPLAY_EXAMPLES, replay_command, show_decided_instead
from worker.console.running import AsJson, with_connection
from worker.console.screen import age, cell, moment, out, pluralize, show, show_json
from worker.console.selection import (
    All,
    Id,
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
from worker.kafka.dead_letters import ReasonCode
from worker.people import dead_letters, discarding
from worker.people.acting import Actor
from worker.people.dead_letters import Filter
from worker.people.readable import readable_record, short
from worker.people.wording import describe_status

LISTED_MAX = 100

dlq_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich", help="Dead letters: list, show, replay, discard.",
)  # fmt: skip


@dlq_app.command("list", epilog=examples(
    "settlement dlq list", "settlement dlq list --code rejected --older 2h", "settlement dlq list --status all --json",
))  # fmt: skip
def list_command(
    topic: OfTopic = None,
    code: Annotated[
        ReasonCode | None, typer.Option("--code", "--reason", metavar="CODE", help="Only this reason.")
    ] = None,
    merchant: OfMerchant = None, order: OfOrder = None, older: Older = None, newer: Newer = None,
    status: Annotated[
        Literal["open", "replayed", "discarded", "all"], typer.Option(help="What was done about them.")
    ] = "open",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most this many, latest first.")] = LISTED_MAX,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """List dead letters, latest first: what went no further, and why."""
    wanted = Filter(
        status=None if status == "all" else status, topic=topic, reason=code, merchant=merchant, order_id=order,
        before=older, since=newer,
    )  # fmt: skip
    found, has_more = with_connection(lambda connection: dead_letters.find(connection, wanted, limit))
    if as_json:
        show_json(found)
        return
    console, now = out(), datetime.now(UTC)
    if not found:
        show(console, cell("no dead letter is open" if wanted == Filter() else "no dead letter matches", "green"))
        return
    heads = ("id", "topic", "reason", "order", "age", *(("status",) if status == "all" else ()), "says")
    show_table(console, heads, [
        (one.id, one.topic, cell(one.reason, "yellow"), one.order_id, age(one.dead_at, now),
         *((describe_status(one.topic, one.status),) if status == "all" else ()), one.message)
        for one in found
    ], right=("id", "age"))  # fmt: skip
    count = f"the latest {limit:,}; --limit shows more" if has_more else pluralize(len(found), "dead letter")
    show(console, cell(f"{count}; `settlement dlq show ID` tells more", "dim"))


@dlq_app.command("show", epilog=examples("settlement dlq show 17", "settlement dlq show 17 --json"))
def show_command(dead_letter: Id, as_json: AsJson = False) -> None:
    """Show one dead letter: the message, the error, where it came from, what people did and what became of it."""
    page = with_connection(lambda connection: dead_letters.read_page(connection, dead_letter))
    if as_json:
        show_json(page.as_json())
        return
    console, letter = out(), page.letter
    record, shown = letter.record, readable_record(letter.record)
    described = describe_status(letter.record.topic, letter.status)
    show(console, cell(f"dead letter {letter.id}", "bold"), f", {described}: ", cell(letter.reason, "yellow"))
    show(console, f"  {letter.message}")
    console.print()
    written = moment(datetime.fromtimestamp(record.timestamp_ms / 1000, UTC))
    left_out = shown.headers_left_out
    rows = [
        ("died", f"{moment(letter.dead_at)} UTC"),
        ("came from", f"{record.topic}[{record.partition}]@{record.offset}, written {written} UTC"),
        ("order", letter.order_id), ("merchant", letter.merchant),
        ("key", shown.key), ("replay of", letter.replay_of),
        *((f"header {name}", content) for name, content in shown.headers),
        ("…", f"{pluralize(left_out, 'more header')}; --json shows them" if left_out else None),
    ]  # fmt: skip
    show_table(console, ("", ""), [(cell(name, "dim"), value) for name, value in rows if value is not None])
    console.print()
    for line in (shown.value or "(no value)").split("\n"):
        show(console, line)
    for act in page.acts:
        show(console, f"{moment(act['at'])} {act['decided_by']}: {act['action']}, {act['reason']}")
        if act["sent"] is not None:
            show(console, f"  sent instead: {short(act['sent'])}")
    if page.became:
        show(console, page.became)
    if page.is_undecided:
        show(console, cell(f"a person decides: {letter.how_to_decide()}", "dim"))


dlq_app.command("replay", epilog=REPLAY_EXAMPLES)(replay_command)


@dlq_app.command("discard", epilog=examples(
    'settlement dlq discard 17 --by ana --reason "a test of the ERP"',
    "settlement dlq discard --code malformed --older 7d --dry-run",
    'settlement dlq discard --code malformed --older 7d --by ana --reason "old noise"',
))  # fmt: skip
def discard_command(
    ids: Ids = None, everything: All = False, topic: OfTopic = None, code: OfCode = None, merchant: OfMerchant = None,
    order: OfOrder = None, older: Older = None, newer: Newer = None,
    by: Annotated[str | None, BY] = None,
    reason: Annotated[str | None, LETTER_REASON] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be discarded.")] = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Discard dead letters that nobody needs. They stay in the table, with your name and reason.

    Commands that wait for a person are decided instead: `settlement commands list`.
    """
    matching = Filter(topic=topic, reason=code, merchant=merchant, order_id=order, before=older, since=newer)
    wanted = select(ids, everything, matching)
    if dry_run:
        done = with_connection(lambda connection: discarding.plan(connection, wanted))
    elif by is None or reason is None:
        fail("say who discards and why: --by NAME --reason TEXT (or look first: --dry-run)", USAGE)
    else:
        actor = Actor(by, reason)
        done = with_connection(lambda connection: discarding.discard(connection, actor, wanted))
    number = len(done.letters)
    if as_json:
        show_json({"would_discard" if dry_run else "discarded": number, "by_reason": done.by_reason,
                   "decided_instead": done.decided_instead})  # fmt: skip
        return
    counts = ", ".join(f"{count:,} {code}" for code, count in done.by_reason.items())
    show(out(), f"{'would discard' if dry_run else 'discarded'} {pluralize(number, 'dead letter')}"
         f"{f': {counts}' if counts else ''}{'; nothing was done' if dry_run else ''}")  # fmt: skip
    if done.discarded_before:
        show(out(), f"discarded before: {done.discarded_before:,}")
    show_decided_instead(out(), done.decided_instead)
