"""What the address of a page, or a form, asks for."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web
from yarl import URL

from worker.people.acting import NotFoundError
from worker.people.dead_letters import ID_MAX

PAGE_ENTRIES = 50
PAGES_MAX = 200
LISTED_MAX = PAGE_ENTRIES * PAGES_MAX


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


def paged(request: web.Request, number: int) -> tuple[int, int, slice]:
    """Of a list with so many entries: the page that is asked for, the number of pages, and the page's entries."""
    pages = min(PAGES_MAX, -(-number // PAGE_ENTRIES))
    page = max(1, min(pages, parse_number(request.query.get("page"), 1)))
    first = (page - 1) * PAGE_ENTRIES
    return page, pages, slice(first, first + PAGE_ENTRIES)


def subject_page(act: Mapping[str, Any]) -> str | None:
    """The page of the command, dead letter or order that an act is about; None if its form names none."""
    match act.get("action"), act.get("id"), act.get("order"):
        case "replay" | "discard", str(number), _ if number:
            return str(URL("/dead-letter").with_query(id=number))
        case "retry" | "resolve" | "abandon", str(command), _ if command:
            return str(URL("/command").with_query(id=command))
        case "abandon", _, str(order) if order:
            return str(URL("/order").with_query(id=order))
        case _:
            return None
