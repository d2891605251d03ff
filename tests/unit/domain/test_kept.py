"""Stored orders, facts and terms are read with the same meaning by every later version.

`kept.jsonl` has each kind once, with every field filled, and its meaning field by field. Stored documents stay in
tables, topics and backups for good, so a line's `kept` is never changed. The default of a new field is added to
`means`, at the end of its struct.
"""

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from msgspec import Struct, structs

from worker.domain.facts import Fact
from worker.domain.kept import decode_fact, decode_order, decode_terms

LINES = [json.loads(line) for line in Path(__file__).with_name("kept.jsonl").read_text("utf-8").splitlines()]
DECODERS = {"order": decode_order, "fact": decode_fact, "terms": decode_terms}


def named(value: Any) -> Any:
    """The value with the names of all fields, in their order; most of an order is stored by position, without names."""
    match value:
        case Struct():
            return {name: named(field) for name, field in structs.asdict(value).items()}
        case dict():
            return {name: named(item) for name, item in value.items()}
        case list() | tuple():
            return [named(item) for item in value]
        case _:
            return value


@pytest.mark.parametrize("line", LINES, ids=lambda line: line["kept"].get("fact", line["as"]))
def test_stored_documents_keep_their_meaning_in_every_version(line: dict[str, Any]) -> None:
    decoded = DECODERS[line["as"]](json.dumps(line["kept"]).encode())

    assert json.dumps(named(decoded), indent=1) == json.dumps(line["means"], indent=1)


def test_every_kind_of_fact_has_a_stored_example() -> None:
    tags = {str(kind.__struct_config__.tag) for kind in get_args(Fact)}

    assert {line["kept"]["fact"] for line in LINES if line["as"] == "fact"} == tags
