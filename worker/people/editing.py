"""Edits a dead letter's value: as text, or by a patch (JSON merge patch, RFC 7396)."""

import json
from typing import Any

from worker.kafka.envelope import split_schema_id
from worker.people.acting import Refused
from worker.people.readable import readable

_TOO_DEEP = "{} is nested too deeply for anybody to read: publish the fact anew"


def editable(value: bytes | None) -> str:
    """The readable value without its schema prefix. `Refused` where it is not text."""
    _, body = split_schema_id(value or b"")
    try:
        body.decode()
    except UnicodeDecodeError:
        raise Refused("the value is not text and cannot be edited; publish the fact anew at its source") from None
    return readable(body)


def rewritten(value: bytes | None, text: str) -> bytes:
    """What a person saved, behind the schema prefix of the original if it had one."""
    prefix, _ = split_schema_id(value or b"")
    return prefix + _encoded(_loaded(text.encode(), "what was saved"))


def patched(value: bytes | None, patch: str) -> bytes:
    """The value with a merge patch applied to its data: a name gets a new value, `null` takes it away."""
    prefix, body = split_schema_id(value or b"")
    changes, whole = _loaded(patch.encode(), "the patch"), _loaded(body, "the value")
    if not isinstance(changes, dict) or not isinstance(whole, dict):
        raise Refused("a patch is a JSON object and changes one; use --edit for anything else")
    try:
        if "specversion" in whole and isinstance(whole.get("data"), dict):  # a CloudEvents envelope around the data
            return prefix + _encoded(whole | {"data": merged(whole["data"], changes)})
        return prefix + _encoded(merged(whole, changes))
    except RecursionError:
        raise Refused(_TOO_DEEP.format("the patch")) from None


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def _loaded(body: bytes, what: str) -> Any:
    try:
        return json.loads(body)
    except ValueError as problem:
        raise Refused(f"{what} is not JSON: {problem}") from None
    except RecursionError:
        raise Refused(_TOO_DEEP.format(what)) from None


def _encoded(data: Any) -> bytes:
    try:
        return json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except ValueError as problem:
        raise Refused(f"what would be sent is not JSON: {problem}") from None
    except RecursionError:
        raise Refused(_TOO_DEEP.format("what would be sent")) from None
