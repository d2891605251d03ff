"""Dead letters: replays are judged again once, dry runs predict the result, and discards are final."""

import pytest

from tests.integration.ledger.harness import CHANGE, INCREMENT, LedgerHarness, authorized, invoice
from worker.kafka import names
from worker.kafka.records import Record
from worker.ledger.foreseeing import foresee
from worker.people import dead_letters, discarding
from worker.people.acting import Actor, Refused
from worker.people.dead_letters import Filter


@pytest.fixture
async def rejected(ledger: LedgerHarness) -> int:
    """The dead letter of a change that exceeded the order's value and would be accepted now."""
    await ledger.apply("order.authorized", authorized("o1", value=5000, payments=[{"value": 10_000}]))
    await ledger.apply("order.changed", CHANGE)
    await ledger.apply("order.changed", INCREMENT)
    return int(await ledger.value("SELECT id FROM dead_letters"))


def replay_header(dead_letter: object) -> list[tuple[str, bytes]]:
    return [("settlement-replay", str(dead_letter).encode())]


async def test_the_first_copy_of_a_replay_is_judged_again_and_later_ones_are_duplicates(
    ledger: LedgerHarness, rejected: int
):
    assert ledger.dead() == [(names.ORDER_CHANGES, "rejected")]
    ledger.send("order.changed", CHANGE, headers=replay_header(rejected))
    ledger.send("order.changed", CHANGE, headers=replay_header(rejected))
    await ledger.cycle()
    await ledger.apply("order.changed", CHANGE, headers=replay_header(rejected))

    assert ledger.state("o1")["value"] == 2000
    assert await ledger.rows("SELECT status, decided_by, returned_offset FROM dead_letters") == [
        ("replayed", "settlement-replay", 3)
    ]
    assert await ledger.value("SELECT sum(duplicates) FROM consumed") == 2
    assert await ledger.is_sound()


async def test_a_replay_rejected_again_is_one_new_dead_letter_however_often_it_arrives(ledger: LedgerHarness):
    await ledger.apply("order.authorized", authorized("o1", value=5000))
    await ledger.apply("order.changed", CHANGE)
    first = await ledger.value("SELECT id FROM dead_letters")
    for _ in range(3):
        await ledger.apply("order.changed", CHANGE, headers=replay_header(first))

    assert await ledger.rows("SELECT status FROM dead_letters ORDER BY id") == [("replayed",), ("open",)]
    page = await dead_letters.read_page(ledger.connection, first)
    second = await ledger.value("SELECT max(id) FROM dead_letters")
    assert page.became == f"It was judged again and refused again: dead letter {second}."
    assert (await dead_letters.read_page(ledger.connection, second)).letter.replay_of == first
    assert await ledger.is_sound()


@pytest.mark.parametrize("lie", [b"", b"x", b"-1", b"999999", b"9" * 40, b"\xff", "١".encode()])
async def test_a_replay_header_that_names_no_dead_letter_is_ignored(ledger: LedgerHarness, rejected: int, lie: bytes):
    await ledger.apply("order.changed", CHANGE, headers=[("settlement-replay", lie)])

    assert ledger.state("o1")["value"] == 8000, "a repeat of a rejected fact stays rejected (R8)"
    assert await ledger.rows("SELECT id, status FROM dead_letters") == [(rejected, "open")]
    assert await ledger.is_sound()


async def test_a_replay_header_that_names_a_dead_letter_of_another_topic_is_ignored(
    ledger: LedgerHarness, rejected: int
):
    await ledger.apply("invoice.issued", invoice("o1", "1", 100), headers=replay_header(rejected))

    assert await ledger.rows("SELECT status FROM dead_letters") == [("open",)]
    assert ledger.commands() == [("settle", 100)], "and the fact itself is not lost"


async def test_a_dead_letter_sent_back_by_another_tool_is_a_duplicate(ledger: LedgerHarness, rejected: int):
    letter = next(record for record in ledger.outgoing if record.topic == "erp.order-changes.v1-dlt")
    await ledger.apply("order.changed", CHANGE, headers=letter.headers)

    assert ledger.state("o1")["value"] == 8000
    assert await ledger.rows("SELECT status FROM dead_letters") == [("open",)]
    assert await ledger.is_sound()


async def test_a_discarded_dead_letter_is_not_judged_again(ledger: LedgerHarness, rejected: int):
    discards = [await discarding.discard(ledger.connection, Actor("ana", "of no use"), [rejected]) for _ in range(2)]
    assert [(done.letters, done.discarded_before) for done in discards] == [({rejected: "rejected"}, 0), ({}, 1)]

    await ledger.apply("order.changed", CHANGE, headers=replay_header(rejected))

    assert ledger.state("o1")["value"] == 8000
    assert await ledger.rows("SELECT status, decided_by, decided_reason FROM dead_letters") == [
        ("discarded", "ana", "of no use")
    ]
    assert await ledger.rows("SELECT action, decided_by, dead_letter FROM people.acts") == [
        ("discard", "ana", rejected)
    ]


async def test_a_replay_that_waits_for_its_order_is_judged_when_the_order_arrives(ledger: LedgerHarness, rejected: int):
    """A replayed fact of an unknown order is parked again (R29)."""
    late = CHANGE | {"orderId": "o2"}
    await ledger.apply("order.changed", late)
    ledger.now_ms += ledger.settings.parking_ms + 1
    await ledger.cycle()
    number = await ledger.value("SELECT id FROM dead_letters WHERE reason = 'order_unknown'")

    await ledger.apply("order.changed", late, headers=replay_header(number))
    assert (await dead_letters.read_page(ledger.connection, number)).became == "It waits for its order."
    await ledger.apply("order.authorized", authorized("o2"))

    assert ledger.state("o2")["value"] == 4000
    page = await dead_letters.read_page(ledger.connection, number)
    assert (page.letter.status, page.became) == ("replayed", "It was judged again and applied.")
    assert await ledger.is_sound()


async def test_a_dry_run_predicts_the_ledgers_decisions_and_writes_nothing(ledger: LedgerHarness, rejected: int):
    [letter] = await dead_letters.read(ledger.connection, [rejected])
    other = Record(names.INVOICES, 0, 7, None, b"{", [], 0)
    tables = ("facts", "entries", "events", "dead_letters", "orders", "parked", "consumed")
    before = [await ledger.rows(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables]

    async with ledger.connection.transaction(readonly=True):
        accepted, unreadable, repeated = await foresee(
            ledger.connection, ledger.settings, [letter.record, other, letter.record], ledger.now_ms
        )

    assert (accepted.fate, [event.type for event in accepted.events]) == (
        "applied",
        ["change.accepted", "void.requested"],
    )
    assert (unreadable.fate, unreadable.reason) == ("dead_lettered", "malformed")
    assert repeated.fate == "duplicate", "they are decided in turn"
    assert [await ledger.rows(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables] == before


async def test_dead_letters_are_found_by_topic_reason_merchant_order_and_age(ledger: LedgerHarness, rejected: int):
    ledger.send("invoice.issued", {"orderId": "o1"}, raw=b"{")
    await ledger.cycle()
    [(died,)] = await ledger.rows("SELECT dead_at FROM dead_letters WHERE id = $1", rejected)

    async def reasons(**wanted: object) -> list[str]:
        found, _ = await dead_letters.find(ledger.connection, Filter(**wanted), 100)
        return [letter.reason for letter in found]

    assert await reasons() == ["malformed", "rejected"]
    assert await reasons(topic=names.INVOICES) == ["malformed"]
    assert await reasons(reason="rejected") == ["rejected"]
    assert await reasons(merchant="shop") == ["rejected"]
    assert await reasons(order_id="o1") == ["malformed", "rejected"], (
        "a malformed record belongs to the order of its key"
    )
    assert await reasons(before=died) == ["malformed", "rejected"]
    assert await reasons(status="replayed") == []
    assert await dead_letters.count_open(ledger.connection) == {"malformed": 1, "rejected": 1}


async def test_reading_a_dead_letter_that_does_not_exist_is_refused(ledger: LedgerHarness):
    for number in (7, 0, -1, 2**70):
        with pytest.raises(Refused, match=f"no dead letter {number} is known"):
            await dead_letters.read_page(ledger.connection, number)


async def test_an_operator_must_give_a_name_and_a_reason(ledger: LedgerHarness):
    for name, reason in (("", "why"), ("  ", "why"), ("ana", ""), ("a\0", "why"), ("ana", "x" * 1001)):
        with pytest.raises(Refused):
            Actor(name, reason)


async def test_the_log_of_operators_acts_is_append_only(ledger: LedgerHarness, rejected: int):
    await discarding.discard(ledger.connection, Actor("ana", "of no use"), [rejected])

    for statement in ("UPDATE people.acts SET reason = 'x'", "DELETE FROM people.acts", "TRUNCATE people.acts"):
        with pytest.raises(Exception, match="append-only"):
            await ledger.connection.execute(statement)
