"""The options `--by` and `--reason`: every decision is kept with the person's name and reason."""

from collections.abc import Callable
from typing import Annotated

import typer

from worker.console.problems import USAGE, fail
from worker.people.acting import NAME_CHARACTERS_MAX, REASON_CHARACTERS_MAX, Refused, refuse_unstorable
from worker.people.dead_letters import CODES


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


def own_words(option: typer.CallbackParam, text: str | None) -> str | None:
    """Refuses a reason code: whoever types one means the filter, and would select more than they meant."""
    text = storable_text(REASON_CHARACTERS_MAX)(option, text)
    code = "_".join((text or "").lower().replace("-", " ").split())
    if code in CODES:
        fail(
            f"--reason takes your own words, which are kept with the decision; --code {code} selects by reason code",
            USAGE,
        )
    return text


BY = typer.Option(
    "--by", metavar="NAME", callback=storable_text(NAME_CHARACTERS_MAX), help="Your name; it is kept with the decision."
)
REASON = typer.Option(
    "--reason", metavar="TEXT", callback=storable_text(REASON_CHARACTERS_MAX), help="Why; it is kept with the decision."
)
LETTER_REASON = typer.Option(
    "--reason", metavar="TEXT", callback=own_words, help="Why, in your own words; --code selects by reason code."
)
By = Annotated[str, BY]
Reason = Annotated[str, REASON]
