"""What a person may decide in a command's present state (R39); checked when typed, and again when applied."""

from typing import Literal

DecisionKind = Literal["retry", "resolve", "abandon"]

RETRIED_STATES = ("declined", "unknown", "suspect")
RESOLVED_STATES = ("manual", "suspect", "unknown")
_DONE_STATES = ("succeeded", "resolved")


def changed_since(seen: int | None, changes: int, state: str) -> str | None:
    """One sentence if the command is no longer as the person who decides has seen it, or None.

    "Retry" means the same request again for a doubtful command, and a new one for a declined command: what the person
    saw decides which of the two they meant.
    """
    if seen is None or seen == changes:
        return None
    return f"the command has changed since it was looked at and is {state} now: look again, then decide"


def objection(
    action: DecisionKind, state: str, done: int, value: int, *, doubted: bool = False, over: bool = False
) -> str | None:
    """One sentence on why not, or None. Resolved as not done counts as declined, resolved as partly done as short.

    `doubted`: the books, which also know caps and automatic settlements, did not accept what the connector or a person
    said was done (R32): its amount is still reserved, and it can only be resolved.
    `over`: the books know how it ended, and nothing of it is missing any more.
    """
    short = state in _DONE_STATES and done < value and not doubted
    match action:
        case "retry" | "abandon" if over and (short or state == "declined"):
            return f"the command is {state}, and nothing of it is missing any more: it was asked anew, or stood in for"
        case "retry" if state not in RETRIED_STATES and not short:
            return f"the command is {state}; only declined, short, unknown and suspect ones are asked again"
        case "resolve" if state not in RESOLVED_STATES and not (doubted and state in _DONE_STATES):
            return f"the command is {state}; only manual, suspect and unknown ones are resolved"
        case "abandon" if state != "declined" and not short:
            return f"the command is {state}; only a declined or short one is abandoned"
        case _:
            return None
