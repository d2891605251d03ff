"""The dead letter of a command names it, whatever a foreign producer wrote into the topic."""

from datetime import UTC, datetime

from worker.kafka import names
from worker.kafka.records import Record
from worker.people.dead_letters import DeadLetter

AT = datetime(2026, 1, 15, tzinfo=UTC)


def letter(value: bytes | None, topic: str = names.COMMANDS) -> DeadLetter:
    return DeadLetter(
        id=1, record=Record(topic, 0, 0, None, value, [], 0), order_id=None, merchant=None, reason="declined",
        message="", status="open", dead_at=AT, decided_by=None, decided_reason=None, decided_at=None, returned=None,
    )  # fmt: skip


def test_a_command_and_an_outcome_name_their_command():
    for topic in (names.COMMANDS, names.OUTCOMES):
        found = letter(b'{"commandId": "c-1", "value": 1}', topic)

        assert found.command_id == "c-1"
        assert found.how_to_decide().startswith("`settlement commands retry c-1` asks again")
    assert letter(b'{"commandId": "c-1"}', names.INVOICES).command_id is None


def test_a_record_that_names_no_command_is_left_to_the_list_of_commands():
    too_long, deep = b'{"commandId": "' + b"x" * 257 + b'"}', b'{"a":' * 100_000 + b"1" + b"}" * 100_000

    for value in (None, b"", b"{", b"[]", b"{}", b'{"commandId": 1}', b'{"commandId": "\xff"}', too_long, deep):
        assert letter(value).command_id is None
        assert letter(value).how_to_decide() == "`settlement commands list` shows what needs a person"
