"""Amounts, times and codes as pages show them."""

from datetime import UTC, datetime

from worker.domain.money import EXPONENTS, to_major
from worker.people.needs import NeedKind

_SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = ((10**15, "quadrillion"), (10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand"))

NEEDS: dict[NeedKind, str] = {
    "unknown": "nobody knows whether the connector did it",
    "suspect": "the answer does not fit what was asked",
    "manual": "the connector asks somebody to do it by hand",
    "failed": "the connector declined it, or a person found that it was not done",
    "short": "the connector did less than was asked",
    "lapsed": "the authorization expired before it was captured",
    "waiting": "more is invoiced than was authorized: the order system must authorize another payment",
}
# Code of a worker's alert about a connector → what the connector does.
ALERTS = {
    "breaker_open": "does not answer",
    "connector_stopped": "refuses us",
    "unknown_connector": "is not in the connectors file",
    "no_definite_answer": "gives no definite answer",
}
# Reasons of dead letters that are commands: most need a person, and are counted as such too.
COMMAND_REASONS = frozenset(("declined", "manual", "suspect", "unknown_outcome"))
STATUSES = ("attention", "open", "invoiced", "finished", "canceled")
BUTTONS = {"retry": "Ask again", "resolve": "Resolve", "abandon": "Give up", "replay": "Replay", "discard": "Discard"}
ACTS = {
    "retry": "ask the connector again for",
    "resolve": "close, as a person found it, the command of",
    "abandon": "give up",
    "replay": "publish once more",
    "discard": "discard",
}


def amount(minor: int | None, currency: str | None) -> str:
    """`1234567` BRL becomes `12,345.67`; without a known currency the minor units stay as they are."""
    if minor is None:
        return "–"
    text = to_major(minor, currency) if currency in EXPONENTS else str(minor)
    whole, point, part = text.partition(".")
    return f"{int(whole):,}".replace("-", "−") + point + part if whole.lstrip("-").isdigit() else text


def in_words(minor: int, currency: str) -> str:
    """`6050` BRL becomes `sixty and 50/100 BRL`, as on a cheque."""
    exponent = EXPONENTS.get(currency, 0)
    whole, part = divmod(minor, 10**exponent)
    cents = f" and {part:0{exponent}}/{10**exponent}" if exponent else ""
    return f"{_number(whole)}{cents} {currency}"


def _number(number: int) -> str:
    for scale, name in _SCALES:
        if number >= scale:
            head, rest = divmod(number, scale)
            return f"{_number(head)} {name}" + (f" {_number(rest)}" if rest else "")
    if number >= 100:
        head, rest = divmod(number, 100)
        return f"{_SMALL[head]} hundred" + (f" {_number(rest)}" if rest else "")
    if number >= 20:
        head, rest = divmod(number, 10)
        return _TENS[head] + (f"-{_SMALL[rest]}" if rest else "")
    return _SMALL[number]


def rfc3339(at: datetime | str | None) -> str:
    """For `<time datetime>`: RFC 3339 in UTC."""
    if at is None:
        return ""
    at = datetime.fromisoformat(at) if isinstance(at, str) else at
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock(at: datetime | str | None, now: datetime) -> str:
    """`14:03:22` today, `24 Nov 14:03:22` on another day; UTC, as the workers' logs."""
    if at is None:
        return "–"
    at = (datetime.fromisoformat(at) if isinstance(at, str) else at).astimezone(UTC)
    return f"{at:%H:%M:%S}" if at.date() == now.date() else f"{at.day} {at:%b %H:%M:%S}"
