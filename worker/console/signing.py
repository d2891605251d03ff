"""Who decides, and why: every decision is kept with both."""

from typing import Annotated

import typer

from worker.console.problems import USAGE, fail


def _not_blank(option: typer.CallbackParam, text: str | None) -> str | None:
    if text is not None and not text.strip():
        fail(f"{option.opts[0]} is blank: it is kept with your decision", USAGE)
    return text


BY = typer.Option("--by", metavar="NAME", callback=_not_blank, help="Your name; it is kept with the decision.")
REASON = typer.Option("--reason", metavar="TEXT", callback=_not_blank, help="Why; it is kept with the decision.")
By = Annotated[str, BY]
Reason = Annotated[str, REASON]
