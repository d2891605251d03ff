"""The options `--by` and `--reason`: every decision is kept with the person's name and reason."""

from collections.abc import Callable
from typing import Annotated

import typer

from worker.console.problems import USAGE, fail
from worker.people.acting import NAME_CHARACTERS_MAX, REASON_CHARACTERS_MAX, Refused, refuse_unstorable


def storable_text(limit: int) -> Callable[[typer.CallbackParam, str | None], str | None]:
    """Returns a callback that refuses text that is blank, too long, or that the database cannot store."""

    def read(option: typer.CallbackParam, text: str | None) -> str | None:
        if text is None:
            return None
        if not text.strip():
            fail(f"{option.opts[0]} is blank: it is kept with your decision", USAGE)
        try:
            refuse_unstorable(option.opts[0], text, limit)
        except Refused as problem:
            fail(str(problem), USAGE)
        return text

    return read


BY = typer.Option(
    "--by", metavar="NAME", callback=storable_text(NAME_CHARACTERS_MAX), help="Your name; it is kept with the decision."
)
REASON = typer.Option(
    "--reason", metavar="TEXT", callback=storable_text(REASON_CHARACTERS_MAX), help="Why; it is kept with the decision."
)
By = Annotated[str, BY]
Reason = Annotated[str, REASON]
