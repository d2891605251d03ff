"""The options that select dead letters or commands: by name, by filter, or all."""

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from worker.console.numbers import whole_number
from worker.console.problems import USAGE, fail
from worker.kafka.dead_letters import ReasonCode
from worker.people.dead_letters import ID_MAX, Filter, Topic, Wanted
from worker.people.retrying import CommandFilter, Retried

_UNITS = {"s": "seconds", "m": "minutes", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"([0-9]{1,6})\s*(s|min|m|h|d|w)")


def _ago(option: str) -> Callable[[str], datetime]:
    """Returns a parser: the time `30min`, `2h` or `7d` before now. Any other text, if ignored, would select more."""

    def read(text: str) -> datetime:
        if match := _DURATION.fullmatch(text.strip()):
            with suppress(OverflowError):  # before the year 1
                return datetime.now(UTC) - timedelta(**{_UNITS[match[2]]: int(match[1])})
        return fail(f"{option} takes an age such as 90s, 30min, 2h or 7d, not {text!r}", USAGE)

    return read


def not_empty(option: typer.CallbackParam, text: str | None) -> str | None:
    """Refuses what an unset variable of the shell leaves: it would select nothing, as if nothing needed a person."""
    if text == "":
        fail(f"{option.opts[0] if option.opts[0].startswith('-') else 'ID'} is empty", USAGE)
    return text


Id = Annotated[int, typer.Argument(metavar="ID", parser=whole_number(1, ID_MAX), help="Its number.")]
Ids = Annotated[
    list[int] | None, typer.Argument(metavar="ID", parser=whole_number(1, ID_MAX), help="Dead letters by number.")
]
All = Annotated[bool, typer.Option("--all", help="Every open one.")]
AllCommands = Annotated[bool, typer.Option("--all", help="Every unknown, suspect and failed one.")]
OfTopic = Annotated[Topic | None, typer.Option("--topic", metavar="TOPIC", help="Only of this topic, without prefix.")]
OfCode = Annotated[
    ReasonCode | None, typer.Option("--code", metavar="CODE", help="Only this reason: rejected, invalid, …")
]
OfNeed = Annotated[Retried | None, typer.Option("--need", help="Only this kind.")]
OfConnector = Annotated[
    str | None, typer.Option("--connector", metavar="NAME", callback=not_empty, help="Only of this connector.")
]
OfConnectorsCode = Annotated[
    str | None,
    typer.Option(
        "--code", metavar="CODE", callback=not_empty, help="Only with this code of the connector, as `show` has it."
    ),
]
OfMerchant = Annotated[
    str | None, typer.Option("--merchant", metavar="NAME", callback=not_empty, help="Only of this merchant.")
]
OfOrder = Annotated[str | None, typer.Option("--order", metavar="ID", callback=not_empty, help="Only of this order.")]
Older = Annotated[
    datetime | None,
    typer.Option(
        "--older", metavar="AGE", parser=_ago("--older"), help="Only what ended longer ago than this: 30min, 2h, 7d."
    ),
]
Newer = Annotated[
    datetime | None,
    typer.Option(
        "--newer", metavar="AGE", parser=_ago("--newer"), help="Only what ended within this time: 30min, 2h, 7d."
    ),
]


def select(ids: list[int] | None, everything: bool, matching: Filter) -> Wanted:
    """Returns the numbers or the filter; refuses unless exactly one of numbers, filter and `--all` is given."""
    _refuse_unless_one(
        [bool(ids), matching != Filter(), everything],
        "their numbers, or a filter (--topic, --code, --merchant, --order, --older, --newer), or --all",
    )
    return list(dict.fromkeys(ids)) if ids else matching


def select_commands(command_id: str | None, everything: bool, matching: CommandFilter) -> str | CommandFilter:
    """Returns the id or the filter; refuses unless exactly one of id, filter and `--all` is given."""
    _refuse_unless_one(
        [command_id is not None, matching != CommandFilter(), everything],
        "ID, or a filter (--need, --connector, --code, --merchant, --order, --older, --newer), or --all",
    )
    return matching if command_id is None else command_id


def _refuse_unless_one(given: list[bool], ways: str) -> None:
    """An omitted option must never select more than was typed."""
    if given.count(True) != 1:
        fail(f"say which{', in one way only' if any(given) else ''}: {ways}", USAGE)
