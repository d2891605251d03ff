"""The AsyncAPI document is valid and complete, and agrees with the contract and the program."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.contract.schemas import FOLDER, INPUTS, MESSAGES, TYPES, document
from worker.kafka import names
from worker.kafka.topics import _topic
from worker.ops.view import ROLE
from worker.ops.view import TOPICS as VIEWED
from worker.settings import load

DOCUMENT = yaml.safe_load((FOLDER / "asyncapi.yaml").read_text())
# The published JSON Schema of AsyncAPI 3.0 (Apache-2.0), without white space.
ASYNCAPI_SCHEMA = json.loads((Path(__file__).parent / "asyncapi-3.0.0.json").read_text())
CONTRACT = Path(__file__).parents[3] / "shared" / "spec" / "contract.md"
ALL_TOPICS = (*names.TOPICS, *names.DEAD_LETTER_TOPICS)


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def resolved(reference: str, inside: Any, folder: Path) -> Any:
    """The target of a reference, in this document or in a file beside it."""
    file, _, pointer = reference.partition("#")
    target = json.loads((folder / file).read_text()) if file else inside
    for step in filter(None, pointer.split("/")):
        target = target[step.replace("~1", "/").replace("~0", "~")]
    return target


def channels() -> dict[str, Any]:
    """The channels by the name of their topic, without prefix."""
    return {channel["address"].removeprefix("{prefix}"): channel for channel in DOCUMENT["channels"].values()}


def test_the_document_is_valid_asyncapi_3():
    validator = jsonschema.validators.validator_for(ASYNCAPI_SCHEMA)(ASYNCAPI_SCHEMA)

    assert [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(DOCUMENT)] == []


def test_every_reference_has_its_target():
    for reference in references(DOCUMENT):
        assert resolved(reference, DOCUMENT, FOLDER) is not None
    for path in MESSAGES.glob("*.json"):
        schema = json.loads(path.read_text())
        for reference in references(schema):
            assert resolved(reference, schema, MESSAGES) is not None


def test_every_component_channel_and_schema_is_used():
    # A sentence of the document names `structured`; no reference can.
    used = set(references(DOCUMENT)) | {"#/components/schemas/structured"}
    for kind, parts in DOCUMENT["components"].items():
        for name in parts:
            assert f"#/components/{kind}/{name}" in used
    for name in DOCUMENT["channels"]:
        assert f"#/channels/{name}" in used
    files = {reference.removeprefix("./messages/") for reference in used if reference.startswith("./")}
    files |= {
        reference.partition("#")[0]
        for path in MESSAGES.glob("*.json")
        for reference in references(json.loads(path.read_text()))
    }
    assert {path.name for path in MESSAGES.glob("*.json")} == files - {""}


def test_the_channels_are_the_topics_of_the_program_with_their_policies():
    documented = channels()
    inputs = {name: {"max.message.bytes": "1000000"} for name in names.INPUTS}

    assert set(documented) == set(ALL_TOPICS)
    for name, channel in documented.items():
        created = _topic(load({}), name, inputs).topic_configs
        documented_as = channel["bindings"]["kafka"]["topicConfiguration"]
        assert [created["cleanup.policy"]] == documented_as["cleanup.policy"]
        assert created.get("retention.ms") == (
            str(documented_as["retention.ms"]) if "retention.ms" in documented_as else None
        )


def test_the_messages_are_the_schemas_with_the_right_traits():
    messages = DOCUMENT["components"]["messages"]

    assert sorted(messages) == sorted([*TYPES, "dead-letter"])
    for name, message in messages.items():
        if name != "dead-letter":
            assert message["payload"]["schema"]["$ref"] == f"./messages/{name}.json"
            trait = "received" if name in INPUTS else "sent"
            assert message["traits"] == [{"$ref": f"#/components/messageTraits/{trait}"}]


def test_every_topic_has_its_writer_and_the_groups_of_its_readers():
    read: dict[str, set[str]] = {}
    written = set()
    for operation in DOCUMENT["operations"].values():
        address = resolved(operation["channel"]["$ref"], DOCUMENT, FOLDER)["address"].removeprefix("{prefix}")
        if operation["action"] == "receive":
            read.setdefault(operation["bindings"]["kafka"]["groupId"]["const"], set()).add(address)
        else:
            written.add(address)

    readers = {role: set(topics) for role, topics in (*names.READ.items(), (ROLE, VIEWED))}
    assert read == {names.group(role): topics for role, topics in readers.items()}
    assert written == set(ALL_TOPICS)


@pytest.mark.skipif(not CONTRACT.exists(), reason=f"the contract is not at {CONTRACT}")
def test_every_topic_and_every_type_of_the_contract_is_in_the_document():
    text = CONTRACT.read_text()
    topics = set(re.findall(r"`((?:erp|settlement)\.[a-z-]+\.v1)`", text))
    rows = set(re.findall(r"^\| `([a-z]+\.[a-z_]+)` \|", text, re.MULTILINE))
    in_text = set(re.findall(r"`(command\.[a-z]+|order\.state)`", text))
    events = text.split("Types, closed:")[1].split("\n- ")[0]
    families = re.findall(r"`([a-z]+)\.`((?: [a-z_]+(?: \([^)]*\))?,?)+)", events)
    kinds = {f"{family}.{kind}" for family, listed in families
             for kind in re.findall(r"[a-z_]+", re.sub(r"\([^)]*\)", "", listed))}  # fmt: skip

    assert topics == set(names.TOPICS)
    assert len(rows | in_text) == 7 + 3 + 8 + 1
    assert rows | in_text <= set(DOCUMENT["components"]["messages"])
    for family in ("settlement", "refund", "void"):  # written as one list of three families
        kinds |= {f"{family}.{kind}" for kind in ("requested", "confirmed", "failed")}
    assert kinds == set(document("event")["properties"]["type"]["enum"])


def test_the_page_shows_every_topic_and_field_and_loads_nothing_from_other_hosts(tmp_path: Path, project: Path):
    target = tmp_path / "page.html"
    subprocess.run([sys.executable, str(project / "schemas" / "page.py"), str(target)], check=True)

    page = target.read_text()

    for name in (*ALL_TOPICS, *DOCUMENT["components"]["messages"]):
        assert f"{name}</code>" in page
    for name in ("payments[].recipients[].amount", "kafka_dlt-original-offset", "ce_id", "attention[].code"):
        assert f"<code>{name}</code>" in page
    assert not re.search(r"<(script|link|img|iframe)|@import|url\(|src=", page)
