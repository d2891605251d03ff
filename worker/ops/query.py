"""What the address of a page, or a form, asks for."""

from aiohttp import web

from worker.people.acting import NotFoundError
from worker.people.dead_letters import ID_MAX


def filters(request: web.Request, *names: str) -> dict[str, str]:
    """The values of these filters; "" is one that is not set."""
    return {name: request.query.get(name, "").strip() for name in names}


def parse_number(text: str | None, default: int) -> int:
    """Returns a number of at most 19 ASCII digits, and `default` for any other text."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 20 else default


def parse_letter_id(text: str) -> int:
    """Returns a dead letter's number; raises `NotFoundError` for any other text."""
    number = parse_number(text, -1)
    if not 0 < number <= ID_MAX:
        raise NotFoundError(f"no dead letter {text} is known")
    return number
