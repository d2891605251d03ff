"""Renders templates. Every value is escaped; nothing here or in a template switches that off."""

import json
from datetime import UTC, datetime
from importlib import resources
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, FunctionLoader, StrictUndefined

from worker.ops import words
from worker.ops.row import DAY_MS, KEPT_AFTER_END_MS
from worker.people.money import MEANINGS
from worker.people.readable import short
from worker.people.wording import OPERATIONS, describe_decision, describe_result, describe_status, duration


def render(template: str, **values: Any) -> str:
    """Renders one page. A value that the template uses and nobody passed is an error, not an empty string."""
    return _environment.get_template(template).render(**values)


def _source(name: str) -> str:
    return (resources.files("worker.ops") / "templates" / name).read_text("utf-8")


def _link(path: str, **query: object) -> str:
    """The address of a page, without what is empty in its query."""
    given = urlencode({name: value for name, value in query.items() if value}, quote_via=quote)
    return f"{path}?{given}" if given else path


def _ago(at: datetime, now: datetime) -> str:
    return duration((now - at.astimezone(UTC)).total_seconds())


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
    "rfc3339": words.rfc3339,
    "clock": words.clock,
    "duration": duration,
    "ago": _ago,
    "short": short,
    "pretty": lambda value: json.dumps(value, indent=2, ensure_ascii=False, default=str),
}
_environment.globals |= {
    "link": _link,
    "need_texts": words.NEEDS, "operation_texts": OPERATIONS, "act_texts": words.ACTS,
    "button_texts": words.BUTTONS, "alert_texts": words.ALERTS, "status_names": words.STATUSES,
    "command_reasons": words.COMMAND_REASONS,
    "meanings": MEANINGS, "kept_days": KEPT_AFTER_END_MS // DAY_MS, "letter_status": describe_status,
    "describe_decision": describe_decision, "describe_result": describe_result,
}  # fmt: skip
