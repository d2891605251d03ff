"""A record is shown as text, and nothing of it is longer than a person reads."""

from worker.kafka import names
from worker.kafka.records import Headers, Record
from worker.people.readable import HEADERS_MAX, VALUE_CHARACTERS_MAX, readable_record


def record(value: bytes | None = b"{}", headers: Headers = ()) -> Record:
    return Record(names.INVOICES, 0, 0, b"\xffkey", value, headers, 0)


def test_a_value_is_shown_up_to_a_limit_and_says_how_long_it_is():
    whole = record(b"x" * VALUE_CHARACTERS_MAX)
    longer = record(b"x" * 1_234_567)

    assert readable_record(whole).value == "x" * VALUE_CHARACTERS_MAX
    assert readable_record(longer).value == "x" * VALUE_CHARACTERS_MAX + (
        " … (1,234,567 characters in all; the command line shows them with --json)"
    )
    assert readable_record(record(None)).value == readable_record(record(b"")).value == ""


def test_a_key_and_headers_are_shown_as_text_and_no_more_than_fit():
    headers = [("a" * 600, b"b" * 600), ("null", None), *((f"h{number}", b"\xfe") for number in range(HEADERS_MAX))]

    shown = readable_record(record(headers=headers))

    assert shown.key == "\\xffkey"
    assert shown.headers[1:3] == [("null", ""), ("h0", "\\xfe")]
    assert all(len(text) < 600 for text in shown.headers[0])
    assert (len(shown.headers), shown.headers_left_out) == (HEADERS_MAX, 2)
