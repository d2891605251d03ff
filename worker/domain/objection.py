"""What a person may decide about a command as it stands now (R39): asked when it is typed, and when it is applied."""

RETRIED_STATES = ("declined", "unknown", "suspect")
RESOLVED_STATES = ("manual", "suspect", "unknown")


def objection(action: str, state: str, done: int, value: int, *, doubted: bool = False) -> str | None:
    """Give one sentence on why not, or None. Resolved as not done, or as partly done, is as if declined or short.

    `doubted`: the connector's success is suspect to the books, which know of automatic settlements too (R32).
    """
    short = state in ("succeeded", "resolved") and done < value
    match action:
        case "retry" if state not in RETRIED_STATES and not short:
            return f"the command is {state}; only declined, short, unknown and suspect ones are asked again"
        case "resolve" if state not in RESOLVED_STATES and not (doubted and state == "succeeded"):
            return f"the command is {state}; only manual, suspect and unknown ones are resolved"
        case "abandon" if state != "declined" and not short:
            return f"the command is {state}; only a declined or short one is abandoned"
        case _:
            return None
