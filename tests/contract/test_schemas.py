"""The published schemas agree with our readers, and every example is as good or bad as its folder says."""

import copy
import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.contract.emitted import complaints
from tests.contract.readers import COMMANDS, ENVELOPES, record, topic_of, verdict, verdict_of
from tests.contract.schemas import EXAMPLES, INPUTS, MESSAGES, TYPES, document, problems
from worker.delivery import outcomes
from worker.delivery.store import OperatorDecision
from worker.delivery.taking import read_job
from worker.domain.decision import EventType
from worker.domain.money import EXPONENTS, MAX_MINOR
from worker.kafka import names
from worker.kafka.dead_letters import ReasonCode
from worker.kafka.envelope import Unreadable, read_event
from worker.kafka.records import Record
from worker.stream.cycle import Cycle

NOON_MS = 1_768_478_400_000

OUTCOMES = tuple(type_ for type_ in TYPES if type_.startswith("command.") and type_ not in COMMANDS)
READ = (*INPUTS, *COMMANDS, *OUTCOMES)
# Problems of a whole message, which the reader finds and no schema can express.
ONLY_BY_READER = re.compile(
    r"(recipients: their amounts must sum|payments: (a paymentId stands twice|together at most))"
)


def examples(kind: str) -> list[Path]:
    return sorted((EXAMPLES / kind).glob("*/*.json"))


def named(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


GOOD = {type_: [json.loads(path.read_text()) for path in examples("good") if path.parent.name == type_]
        for type_ in READ}  # fmt: skip


@pytest.mark.parametrize("path", sorted(MESSAGES.glob("*.json")), ids=lambda path: path.stem)
def test_every_file_is_a_schema_of_2020_12(path: Path):
    schema = json.loads(path.read_text())

    Draft202012Validator.check_schema(schema)

    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"]


@pytest.mark.parametrize("type_", TYPES)
def test_every_type_has_good_examples_and_every_input_has_bad_ones(type_: str):
    assert list((EXAMPLES / "good" / type_).glob("*.json"))
    if type_ in INPUTS:
        assert len(list((EXAMPLES / "bad" / type_).glob("*.json"))) >= 2


@pytest.mark.parametrize("path", examples("good"), ids=named)
def test_a_good_example_is_valid_and_read_in_every_envelope(path: Path):
    type_, data = path.parent.name, path.read_bytes()

    assert problems(type_, json.loads(data)) == []

    for envelope in ENVELOPES if type_ in READ else ():
        if envelope != "bare" or type_ == "invoice.issued":
            assert verdict(record(type_, data, envelope)) is None


@pytest.mark.parametrize("path", examples("bad"), ids=named)
def test_a_bad_example_is_refused_by_schema_and_reader_for_the_field_in_its_name(path: Path):
    type_, data = path.parent.name, path.read_bytes()
    field = path.stem.partition("--")[0]

    assert {problem for problem, _ in problems(type_, json.loads(data))} == {field}

    for envelope in ENVELOPES:
        if envelope != "bare" or type_ == "invoice.issued":
            reason, message = verdict(record(type_, data, envelope)) or ("", "")
            assert reason == "invalid"
            assert field in message if type_ in COMMANDS else message.startswith(f"{field}: ")


def test_the_schemas_list_the_currencies_of_the_program():
    common = document("common")["$defs"]

    assert common["currency"]["enum"] == sorted(EXPONENTS)


def test_the_schemas_list_the_event_types_of_the_program():
    assert document("event")["properties"]["type"]["enum"] == list(get_args(EventType))


def test_the_schemas_list_the_reason_codes_of_the_program():
    headers = document("dead-letter-headers")["properties"]

    for name in ("kafka_dlt-exception-fqcn", "__connect.errors.exception.class.name"):
        assert headers[name]["enum"] == list(get_args(ReasonCode))


# Values that have broken readers before, for any place of a good example.
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([
        0, 1, "0", "1", "00", "-1", "1.0", 1.0, 1e3, "1e3", 2**53 - 1, 2**53, str(2**53 - 1), str(2**53), "9" * 16, "٣",
        "", " ", "x" * 256, "x" * 257, "é" * 256, "1\n", "USD", "usd", "XXX", "Output", "Input",
        "2026-02-29T00:00:00Z", "2024-02-29T00:00:00Z", "2026-01-15T24:00:00Z", "2026-01-15T12:00:60Z", "2026-01-15",
        "2026-01-15 12:00:00", "0000-01-01T00:00:00Z", "2026-01-15T12:00:00+24:00", "2026-01-15T12:00:00.1234567890Z",
        "2026-01-15T12:00:00+02:60",
        [], {}, [[]], [{}], ["x"], {"a": 1},
    ]),
    st.text(max_size=12), st.from_regex(r"\s{0,2}[0-9A-Z]{0,3}\s{0,2}", fullmatch=True),
)  # fmt: skip


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values of a message."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(deeper for key, below in inner for deeper in paths(below, (*path, key)))]


@st.composite
def damaged(draw: st.DrawFn, types: tuple[str, ...]) -> tuple[str, Any]:
    """A good example with one or two places changed, removed or added."""
    type_ = draw(st.sampled_from(types))
    data = copy.deepcopy(draw(st.sampled_from(GOOD[type_])))
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from(paths(data)))
        if not path:
            known = document(type_)["properties"]
            data[draw(st.sampled_from([*known, "unknown"]))] = copy.deepcopy(draw(ODD))
            continue
        node = data
        for key in path[:-1]:
            node = node[key]
        if draw(st.booleans()):
            node[path[-1]] = copy.deepcopy(draw(ODD))
        else:
            del node[path[-1]]
    return type_, data


@settings(max_examples=300, deadline=None)
@given(damaged(INPUTS))
def test_schema_and_reader_agree_on_every_input(sent: tuple[str, Any]):
    type_, data = sent
    assume("\\u0000" not in json.dumps(data))
    assume(not re.search(r"\\ud[89a-f]", json.dumps(data)))

    by_schema, by_reader = problems(type_, data), verdict_of(type_, data)

    if by_reader is not None and ONLY_BY_READER.search(by_reader[1]):
        assert by_reader[0] == "invalid"
    else:
        assert bool(by_schema) == bool(by_reader), (by_schema, by_reader)


@pytest.mark.parametrize("type_", OUTCOMES)
def test_no_outcome_may_exceed_the_largest_amount(type_: str):
    data = GOOD[type_][0] | {"value": MAX_MINOR + 1}

    assert problems(type_, data)
    assert verdict_of(type_, data) is not None


@settings(max_examples=200, deadline=None)
@given(damaged((*COMMANDS, *OUTCOMES)))
def test_every_message_of_ours_that_its_schema_allows_is_read(sent: tuple[str, Any]):
    type_, data = sent
    assume("\\u0000" not in json.dumps(data))
    assume(not re.search(r"\\ud[89a-f]", json.dumps(data)))

    if not problems(type_, data):
        assert verdict_of(type_, data) is None


@pytest.mark.parametrize(("envelope", "valid"), [
    ({"specversion": "1.0", "id": "1", "source": "/erp", "type": "order.changed", "data": {}}, True),
    ({"specversion": "1.0", "type": "order.changed", "data": {}}, True),
    ({"specversion": "1.0", "type": "order.changed", "data_base64": "e30="}, True),
    ({"specversion": "1.0", "type": "order.changed"}, False),
    ({"specversion": "1.0", "type": "", "data": {}}, False),
    ({"specversion": "1.0", "type": 7, "data": {}}, False),
    ({"specversion": "1.0", "data": {}}, False),
    ({"type": "order.changed", "data": {}}, False),
    ({"specversion": None, "type": "order.changed", "data": {}}, False),
])  # fmt: skip
def test_the_schema_of_the_envelope_and_the_reader_agree(envelope: dict[str, Any], valid: bool):
    event = read_event(Record(names.ORDER_CHANGES, 0, 0, None, json.dumps(envelope).encode(), [], 0))

    assert (problems("cloudevent", envelope) == []) is valid
    assert (not isinstance(event, Unreadable)) is valid


@pytest.mark.parametrize(("headers", "valid"), [
    ({"ce_type": "order.changed"}, True),
    ({"ce_type": "order.changed", "content-type": "application/json; charset=utf-8"}, True),
    ({"ce_type": "order.changed", "ce_specversion": "1.0.2", "ce_id": "", "ce_time": "yesterday"}, True),
    ({"ce_type": "order.changed", "settlement-replay": "the first"}, True),
    ({"ce_type": ""}, False),
    ({"ce_specversion": "1.0", "ce_id": "1"}, False),
])  # fmt: skip
def test_the_schema_of_binary_headers_and_the_reader_agree(headers: dict[str, str], valid: bool):
    sent = [(name, content.encode()) for name, content in headers.items()]
    event = read_event(Record(names.ORDER_CHANGES, 0, 0, None, b"{}", sent, 0))

    assert (problems("headers", headers) == []) is valid
    assert (not isinstance(event, Unreadable)) is valid


def test_the_types_that_are_read_cover_all_input_topics():
    assert {topic_of(type_) for type_ in READ} == set(names.INPUTS)


def test_every_outcome_that_the_delivery_worker_publishes_is_valid():
    command = GOOD["command.settle"][0]
    taken = record("command.settle", json.dumps(command).encode())
    job = read_job(Cycle(None, [taken], {}, NOON_MS, 12), taken)  # reading uses no database
    assert job is not None
    published = [
        outcomes.of_job(job, kind, NOON_MS, value=value, operation_id=operation, code="c", message=None)
        for kind, value, operation in (
            ("succeeded", 1, "S-1"), ("declined", 0, None), ("manual", 0, None), ("suspect", 0, "S"),
            ("unknown", 0, None),
        )
    ]  # fmt: skip
    for action in outcomes.DECIDED:
        decision = OperatorDecision(
            id=1, action=action, order_id="v1042", command_id=job.id, value=5, operation_id="S-9", by="Ann",
            reason="she knows", at_ms=NOON_MS,
        )  # fmt: skip
        published.append(outcomes.of_decision(decision, job, 3))
    abandoned = OperatorDecision(
        id=2, action="abandon", order_id="v1042", invoice_number="NF-1", by="Ann", reason="too late", at_ms=NOON_MS
    )
    published.append(outcomes.of_decision(abandoned, None, 3))

    assert complaints(published) == []
    assert {dict(record.headers)["ce_type"].decode() for record in published} == set(OUTCOMES)
