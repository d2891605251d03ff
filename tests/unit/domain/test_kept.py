"""What is kept of orders, facts and terms is read by every later program as it was meant.

`kept.jsonl` has each kind once, with every field filled, beside what it says field by field. What was kept once is in
tables, in topics and in backups for good: a line's `kept` is never changed. Where a field is new, its default joins
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
    """Structs by the names of their fields, in their order: most of an order is kept without names, by place."""
    match value:
        case Struct():
            return {name: named(one) for name, one in structs.asdict(value).items()}
        case dict():
            return {name: named(one) for name, one in value.items()}
        case list() | tuple():
            return [named(one) for one in value]
        case _:
            return value


@pytest.mark.parametrize("line", LINES, ids=lambda line: line["kept"].get("fact", line["as"]))
def test_stored_documents_keep_their_meaning_in_every_version(line: dict[str, Any]) -> None:
    found = DECODERS[line["as"]](json.dumps(line["kept"]).encode())

    assert json.dumps(named(found), indent=1) == json.dumps(line["means"], indent=1)


def test_every_kind_of_fact_has_a_stored_example() -> None:
    tags = {str(kind.__struct_config__.tag) for kind in get_args(Fact)}

    assert {line["kept"]["fact"] for line in LINES if line["as"] == "fact"} == tags
