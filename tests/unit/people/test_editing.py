"""An operator changes the message of a dead letter by a patch or by rewriting it."""

import json

import pytest

from worker.people.acting import Refused
from worker.people.editing import editable, merged, patched, rewritten
from worker.people.readable import readable

DATA = {"orderId": "o1", "invoiceValue": 24.99, "items": [{"id": "a"}], "courier": "X"}
ENVELOPE = {"specversion": "1.0", "type": "invoice.issued", "id": "1", "source": "/erp", "data": DATA}


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_does_what_the_standard_says(target, patch, result):
    assert merged(target, patch) == result


def test_a_patch_changes_the_data_inside_an_envelope_and_behind_a_schema_prefix():
    whole = b"\0\0\0\0\x07" + json.dumps(ENVELOPE).encode()

    sent = patched(whole, '{"invoiceValue": 2499, "courier": null}')

    assert sent[:5] == whole[:5]
    assert json.loads(sent[5:])["data"] == {"orderId": "o1", "invoiceValue": 2499, "items": [{"id": "a"}]}
    assert json.loads(sent[5:])["type"] == "invoice.issued"


def test_a_value_is_edited_in_lines_and_without_its_schema_prefix():
    value = b'\0\0\0\0\x07{"orderId":"o1","invoiceValue":1e3}'

    assert editable(value) == '{\n  "orderId": "o1",\n  "invoiceValue": 1e3\n}'
    assert rewritten(value, '{"invoiceValue": 1000}') == b'\0\0\0\0\x07{"invoiceValue":1000}'


def test_invalid_json_can_be_rewritten_but_not_patched():
    assert editable(b'{"orderId": "o1"') == '{"orderId": "o1"'
    assert rewritten(b'{"orderId": "o1"', '{"orderId": "o1"}') == b'{"orderId":"o1"}'
    for value, patch in (
        (b"{", "{}"),
        (b"[]", "{}"),
        (b"{}", "1"),
        (b"{}", '{"a": Infinity}'),
        (b"{}", '{"a": 1e999}'),
    ):
        with pytest.raises(Refused):
            patched(value, patch)
    with pytest.raises(Refused, match="not text"):
        editable(b"\xff\xfe")
    assert readable(b"\xff\xfe") == "\\xff\\xfe"


def test_an_unpaired_surrogate_stays_escaped():
    assert readable(b'{"orderId": "\\ud800"}') == '{"orderId": "\\ud800"}'


def test_deeply_nested_json_is_shown_and_cannot_be_patched_or_rewritten():
    deep = b'{"a":' * 100_000 + b"1" + b"}" * 100_000

    for value in (deep, b"[" * 100_000):
        assert readable(value) == editable(value) == value.decode()
    for value, patch in ((deep, "{}"), (b"{}", deep.decode())):
        with pytest.raises(Refused, match="nested too deeply"):
            patched(value, patch)
    with pytest.raises(Refused, match="nested too deeply"):
        rewritten(b"{}", deep.decode())
