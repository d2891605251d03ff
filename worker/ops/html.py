"""Turns templates into pages. Every value is escaped; nothing here or in a template switches that off."""

import json
from datetime import UTC, datetime
from importlib import resources
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FunctionLoader, StrictUndefined

from worker.ops import words


def render(template: str, **values: Any) -> str:
    """One page. A value that the template names and nobody gave is an error, not an empty place."""
    return _environment.get_template(template).render(**values)


def _source(name: str) -> str:
    return (resources.files("worker.ops") / "templates" / name).read_text("utf-8")


def _as_query(text: str) -> str:
    return quote(text, safe="")


def _ago(at: datetime, now: datetime) -> str:
    return words.lasting((now - at.astimezone(UTC)).total_seconds())


_environment = Environment(
    autoescape=True,
    loader=FunctionLoader(_source),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_environment.filters |= {
    "amount": words.amount,
    "in_words": words.in_words,
    "moment": words.moment,
    "clock": words.clock,
    "lasting": words.lasting,
    "ago": _ago,
    "as_query": _as_query,
    "pretty": lambda value: json.dumps(value, indent=2, ensure_ascii=False, default=str),
}
_environment.globals |= {
    "needs_say": words.NEEDS, "operation_says": words.OPERATIONS, "act_says": words.ACTS,
    "button_says": words.BUTTONS,
}  # fmt: skip
