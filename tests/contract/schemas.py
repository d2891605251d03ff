"""The published JSON Schemas, validated as strictly about integers as the contract requires."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

FOLDER = Path(__file__).parents[2] / "schemas"
MESSAGES = FOLDER / "messages"
EXAMPLES = FOLDER / "examples"
# Schemas of parts, envelopes and headers; every other file is the schema of one type of message.
NOT_MESSAGES = ("cloudevent", "common", "dead-letter-headers", "headers", "output-headers")
TYPES = sorted(path.stem for path in MESSAGES.glob("*.json") if path.stem not in NOT_MESSAGES)
INPUTS = ("order.authorized", "payment.authorized", "payment.auto_settled", "order.changed", "order.cancel_requested",
          "invoice.issued", "invoice.tracking_updated")  # fmt: skip

Problem = tuple[str, str]


def document(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((MESSAGES / f"{name}.json").read_text())
    return content


@cache
def registry() -> Registry[Any]:
    """All schemas without `$schema`, for which jsonschema would ignore our own types and patterns."""
    files = ((f"{path.stem}.json", document(path.stem)) for path in MESSAGES.glob("*.json"))
    files = ((uri, {name: value for name, value in content.items() if name != "$schema"}) for uri, content in files)
    return Registry().with_resources((uri, DRAFT202012.create_resource(content)) for uri, content in files)


@cache
def validator(name: str) -> Any:
    """Refuses 1.0 and 1e0 as integers, and lets a pattern's `$` match at the very end only (ECMA-262)."""
    checker = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    strict = jsonschema.validators.extend(Draft202012Validator, {"pattern": _pattern}, type_checker=checker)
    return strict({"$ref": f"{name}.json"}, registry=registry())


def problems(name: str, data: object) -> list[Problem]:
    """Each invalid field with the keyword that refuses it; empty if the data is valid."""
    return [problem for error in validator(name).iter_errors(data) for problem in _fields(error)]


def refusals(name: str, data: object) -> list[str]:
    """The `problems` as sentences."""
    return [f"{name}: {field}: {why}" for field, why in problems(name, data)]


def _fields(error: Any) -> Iterator[Problem]:
    path = _written(error.absolute_path)
    if error.validator == "required":
        for name in error.validator_value:
            if name not in error.instance:
                yield f"{path}.{name}" if path else name, "required"
    else:
        yield path or "data", f"{error.validator}: {error.message[:200]}"


def _written(path: Any) -> str:
    """`payments[0].value`, as the reader writes it."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\$(?=\)|$)", r"\\Z", pattern))


def _pattern(_: Any, pattern: str, instance: object, __: Any) -> Iterator[Any]:
    if isinstance(instance, str) and not _compiled(pattern).search(instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match")
