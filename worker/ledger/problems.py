"""What is wrong with a message, in words that its sender understands: the field first, then the rule."""

import re

import msgspec

from worker.domain.money import MAX_MINOR
from worker.ledger.wire import CHARACTERS_MAX

_PATH = re.compile(r"^(.*?)(?: - at `\$\.?(.*)`)?$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(.*)`$")
_LIMIT = re.compile(r"<= ([0-9]+)")
_AMOUNT = f"a whole number from {{}} to {MAX_MINOR}, as a JSON integer or a string of its digits"


class Invalid(Exception):
    """A message that can be read but breaks a rule: `field: rule`."""


def explain(problem: msgspec.ValidationError) -> str:
    """`invoiceValue: must be a whole number from 1 to …, not a float (R9)`."""
    found = _PATH.match(str(problem))
    text, path = (found[1], found[2] or "data") if found else (str(problem), "data")
    if missing := _MISSING.match(text):
        return f"{missing[1] if path == 'data' else f'{path}.{missing[1]}'}: is required (R9)"
    return f"{path}: {_rule(path, text)} (R9)"


def _rule(path: str, text: str) -> str:
    got = re.search(r", got `(\w+)`$", text)
    met = f", not {got[1]}" if got else ""
    field = path.rpartition(".")[2]
    if field in ("discountValue", "incrementValue", "amount", "commissionAmount", "maxValue"):
        return f"must be {_AMOUNT.format(0)}{met}"
    if field.lower().endswith("value"):
        return f"must be {_AMOUNT.format(1)}{met}"
    if field == "type":
        return "must be Output or Input"
    if text.startswith("Expected `str` of length"):
        return f"must have 1 to {limit[1] if (limit := _LIMIT.search(text)) else CHARACTERS_MAX} characters"
    if text.startswith("Expected `array` of length"):
        return "must not be empty"
    return f"must be {text.removeprefix('Expected ').split(', got')[0].replace('`', '')}{met}"
