"""`settlement commands …`: the commands that need a person, and what people decide about them (R39)."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from worker.console.decision_options import BY, REASON, By, Reason, storable_text
from worker.console.help_text import examples
from worker.console.numbers import whole_number
from worker.console.problems import USAGE, fail
from worker.console.retry import retry_selected
from worker.console.running import AsJson, with_connection
from worker.console.screen import STYLES, age, cell, err, moment, out, pluralize, show, show_json
from worker.console.selection import (
    AllCommands,
    Newer,
    OfConnector,
    OfConnectorsCode,
    OfMerchant,
    OfNeed,
    OfOrder,
    Older,
    not_empty,
    select_commands,
)
from worker.console.tables import show_table
from worker.domain.money import MAX_MINOR, to_major
from worker.people import commands
from worker.people.acting import NAME_CHARACTERS_MAX, Actor
from worker.people.commands import EarlierDecision
from worker.people.needs import (
    LISTED_MAX,
    ORDERS_LOOKED_AT_MAX,
    AwaitedConnector,
    Need,
    NeedKind,
    Needs,
    awaited_connectors,
    find_needs,
)
from worker.people.retrying import CommandFilter
from worker.people.wording import OPERATIONS, describe_decision, describe_done, describe_result
from worker.postgres.connecting import Connection

CHANGES_MAX = 2**31 - 1

commands_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich",
    help="Commands that need a person: look, retry, resolve, abandon.",
)  # fmt: skip

CommandId = Annotated[
    str, typer.Argument(metavar="ID", callback=not_empty, help="The commandId, as `commands list` shows it.")
]
Changes = Annotated[
    int | None,
    typer.Option(
        "--changes",
        metavar="N",
        parser=whole_number(0, CHANGES_MAX),
        help="Only if it has changed this many times: see `show`.",
    ),
]


@commands_app.command(
    "list",
    epilog=examples(
        "settlement commands list",
        "settlement commands list --need unknown --connector acme",
        "settlement commands list --need unknown --json",
        "settlement commands list --order O-1001",
    ),
)
def list_command(
    need: Annotated[NeedKind | None, typer.Option(help="Only this kind.")] = None,
    order: OfOrder = None,
    merchant: OfMerchant = None,
    connector: OfConnector = None,
    limit: Annotated[
        int, typer.Option(min=1, max=ORDERS_LOOKED_AT_MAX, help="At most this many, latest first.")
    ] = LISTED_MAX,
    as_json: AsJson = False,
) -> None:
    """List what needs a person: commands that wait for one, and amounts that failed, came short, lapsed or wait.

    A waiting amount is invoiced beyond all authorizations: the order system must authorize another payment.
    """

    async def read(connection: Connection) -> tuple[Needs, list[AwaitedConnector]]:
        found = await find_needs(
            connection, need=need, order_id=order, merchant=merchant, connector=connector, limit=limit
        )
        awaited = await awaited_connectors(connection, order_id=order, merchant=merchant)
        return found, [one for one in awaited if connector in (None, one.connector)]

    found, awaited = with_connection(read)
    count = f"{found}{'; --limit shows more' if len(found.latest) < found.total else ''}"
    if as_json:
        show_json(found.latest)
        if len(found.latest) < found.total:
            show(err(), count)  # not in the list, whose form programs know
        return
    console = out()
    for one in awaited:
        orders = f"{pluralize(one.orders, 'order')} waiting, first {one.first_order}"
        show(console, cell(f"the connectors file does not name {one.connector}: {orders}; "
                           "add it to the file, then send SIGHUP to the workers", "yellow"))  # fmt: skip
    if not found.latest:
        if not awaited:
            filtered = any((need, order, merchant, connector))
            show(console, cell(f"nothing{' that matches' if filtered else ''} needs a person", "green"))
        return
    now = datetime.now(UTC)
    show_table(
        console, ("need", "what", "order", "connector", "since", "about", "may be", "says"),
        [(cell(one.need, STYLES.get(one.need, "")), _operation(one), one.order_id, one.connector,
          age(one.since, now), _subject(one),
          f"{one.noted} is noted" if one.noted else ", ".join(one.acts), one.message) for one in found.latest],
        right=("since",),
    )  # fmt: skip
    worth = " and ".join(f"{to_major(total, currency)} {currency}" for currency, total in found.sums.items())
    waiting = f", the oldest for {age(found.oldest, now)}" if found.oldest else ""
    show(console, cell(f"{count}; in all {worth}{waiting}; `settlement commands show ID` tells more", "dim"))


@commands_app.command("show", epilog=examples("settlement commands show ID"))
def show_command(command_id: CommandId, as_json: AsJson = False) -> None:
    """Show one command: what was asked, each attempt and its answer, what people decided, what may be decided now."""
    page = with_connection(lambda connection: commands.read_page(connection, command_id))
    if as_json:
        show_json(page.as_json())
        return
    console, command = out(), page.command
    amount = f"{to_major(command['value'], command['currency'])} {command['currency']}"
    show(console, cell(f"{OPERATIONS[command['operation']]} {amount}", "bold"),
         f" on payment {command['payment_id']} of order {command['order_id']}, by {command['connector']}: ",
         cell(command["state"], STYLES.get(command["state"], "bold")))  # fmt: skip
    show(console, f"  request {command['asked']['requestId']}: the connector knows it by that")
    if command["message"]:
        show(console, "  ", ": ".join(filter(None, (command["code"], command["message"]))))
    if page.attempts:
        console.print()
        show_table(console, ("attempt", "begun", "ended", "became", "HTTP", "says"), [
            (str(attempt["attempt"]), moment(attempt["begun_at"]), moment(attempt["ended_at"]),
             attempt["fate"] or "no result written down", attempt["status"] or "", attempt["message"])
            for attempt in page.attempts
        ], right=("attempt",))  # fmt: skip
    if page.attempts and page.attempts[-1]["reply"]:
        show(console, f"the last answer: {page.attempts[-1]['reply']}")
    for decision in page.decisions:
        decided = describe_decision(decision, command["currency"])
        show(console, f"{moment(decision['decided_at'])} {decision['decided_by']}: {decided}, {decision['reason']} "
             f"({describe_result(decision)})")  # fmt: skip
    for again in page.asked_again:
        show(console, f"asked again by {again}")
    if page.acts:
        as_shown = f"--changes {command['changes']}: only while the command is as shown here"
        show(console, cell(f"may be decided now: {', '.join(page.acts)} ({as_shown})", "dim"))


@commands_app.command(
    "retry",
    epilog=examples(
        'settlement commands retry ID --by ana --reason "limit was raised"',
        'settlement commands retry ID --changes 1 --by ana --reason "the acquirer was down"',
        "settlement commands retry --need unknown --connector acme --dry-run",
        'settlement commands retry --need unknown --connector acme --by ana --reason "the acquirer is back"',
    ),
)
def retry_command(
    command_id: Annotated[str | None, typer.Argument(metavar="ID", callback=not_empty, help="The commandId.")] = None,
    everything: AllCommands = False, need: OfNeed = None, connector: OfConnector = None, code: OfConnectorsCode = None,
    merchant: OfMerchant = None, order: OfOrder = None, older: Older = None, newer: Newer = None,
    by: Annotated[str | None, BY] = None, reason: Annotated[str | None, REASON] = None, changes: Changes = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be asked again.")] = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Ask again: a declined or short command as a new one, an unknown or suspect one under the same request id.

    One by its ID, or all unknown, suspect and failed ones that match: each is a decision of its own.
    """
    matching = CommandFilter(
        need=need, connector=connector, code=code, merchant=merchant, order_id=order, before=older, since=newer
    )
    wanted = select_commands(command_id, everything, matching)
    if isinstance(wanted, CommandFilter):
        if changes is not None:
            fail("--changes goes with an ID", USAGE)
        retry_selected(wanted, None if dry_run else _signed(by, reason), as_json=as_json)
        return
    if dry_run or as_json:
        fail("--dry-run and --json go with a filter or --all; `settlement commands show ID` shows one command", USAGE)
    actor = _signed(by, reason)
    before = with_connection(lambda connection: commands.retry(connection, actor, wanted, changes=changes))
    show(out(), str(before or "noted; it will be asked again"))


@commands_app.command(
    "resolve",
    epilog=examples(
        'settlement commands resolve ID --done 6000 --operation-id S-77 --by ana --reason "the acquirer says so"',
        'settlement commands resolve ID --not-done --by ana --reason "the acquirer never had it"',
    ),
)
def resolve_command(
    command_id: CommandId,
    by: By,
    reason: Reason,
    done: Annotated[
        int | None,
        typer.Option(metavar="VALUE", parser=whole_number(1, MAX_MINOR), help="It was done: its value in minor units."),
    ] = None,
    operation_id: Annotated[
        str | None,
        typer.Option(
            metavar="X", callback=storable_text(NAME_CHARACTERS_MAX), help="The connector's id of what was done."
        ),
    ] = None,
    not_done: Annotated[bool, typer.Option("--not-done", help="It was not done, and never will be.")] = False,
    changes: Changes = None,
) -> None:
    """Close a manual, suspect or unknown command: it was done, or it was not."""
    if not_done == (done is not None) or (done is not None) != bool(operation_id):
        fail("say either --done VALUE --operation-id X, or --not-done", USAGE)

    async def resolve(connection: Connection) -> tuple[EarlierDecision | None, int, str]:
        before = await commands.resolve(
            connection, Actor(by, reason), command_id, done=done, operation_id=operation_id, changes=changes
        )
        command = await commands.read_command(connection, command_id)
        return before, command["value"], command["currency"]

    before, asked, currency = with_connection(resolve)
    if before is not None:
        show(out(), str(before))
    elif done is None:
        show(
            out(),
            f"noted: {to_major(asked, currency)} {currency} counts as not done, and is failed now; next, "
            f"`settlement commands retry {command_id}` asks for it again, or `… abandon {command_id}` gives it up",
        )
    else:
        show(out(), f"noted: {describe_done(done, asked, currency)}")
        if done < asked:
            show(err(), _less_than_asked(done, asked, currency))


@commands_app.command(
    "abandon",
    epilog=examples(
        'settlement commands abandon ID --by ana --reason "paid in cash"',
        'settlement commands abandon --order O-1001 --invoice 17 --by ana --reason "paid in cash"',
        'settlement commands abandon --order O-1001 --settle-id S-9 --by ana --reason "returned by the acquirer"',
    ),
)
def abandon_command(
    by: By,
    reason: Reason,
    command_id: Annotated[str | None, typer.Argument(metavar="ID", callback=not_empty, help="The commandId.")] = None,
    order: Annotated[
        str | None,
        typer.Option(
            metavar="O", callback=not_empty, help="The order of a lapsed amount or of an automatic settlement."
        ),
    ] = None,
    invoice: Annotated[
        str | None, typer.Option(metavar="N", callback=not_empty, help="The invoice whose lapsed amount is given up.")
    ] = None,
    settle_id: Annotated[
        str | None,
        typer.Option(metavar="S", callback=not_empty, help="The suspect automatic settlement that is given up."),
    ] = None,
    changes: Changes = None,
) -> None:
    """Give up a failed or lapsed amount, or a suspect automatic settlement: it no longer holds the order."""
    amount = order is not None and (invoice is None) != (settle_id is None)
    of_command, of_amount = command_id is not None or changes is not None, order or invoice or settle_id
    if (command_id is None) == (not amount) or (of_command and of_amount):
        fail("name ID, or --order O --invoice N, or --order O --settle-id S", USAGE)
    if command_id is not None:
        before = with_connection(
            lambda connection: commands.abandon(connection, Actor(by, reason), command_id, changes=changes)
        )
    else:
        before = with_connection(
            lambda connection: commands.abandon_amount(
                connection, Actor(by, reason), str(order), invoice=invoice, settle_id=settle_id
            )
        )
    show(out(), str(before or "noted; it is given up"))


def _signed(by: str | None, reason: str | None) -> Actor:
    """Who decides, and why; refuses if either is missing."""
    if by is None or reason is None:
        fail("say who decides and why: --by NAME --reason TEXT", USAGE)
    return Actor(by, reason)


def _less_than_asked(done: int, asked: int, currency: str) -> str:
    """The warning for whoever typed major units."""
    booked, wanted = to_major(done, currency), to_major(asked, currency)
    return (
        f"warning: --done takes minor units, and {done} is {booked} {currency}, less than the {wanted} {currency} "
        f"asked for (--done {asked}). If the connector did more than {booked}, do not retry the rest: "
        "it would be done again."
    )


def _operation(need: Need) -> str:
    amount = f"{to_major(need.amount, need.currency)} {need.currency}"
    if need.operation is None or need.value is None:
        return amount
    part = "" if need.value == need.amount else f" of {to_major(need.value, need.currency)}"
    return f"{OPERATIONS[need.operation]} {amount}{part}"


def _subject(need: Need) -> str:
    """The command id, or the name of the amount, that `show` and the decisions take."""
    if need.command_id is not None:
        return need.command_id
    if need.invoice_number is not None:
        return f"invoice {need.invoice_number}"
    return f"settlement {need.settle_id}" if need.settle_id is not None else "another authorization"
