"""What comes back of a dead letter is judged again, once; a copy of it, or a header that lies, is ordinary."""

import pytest

from tests.integration.ledger.harness import LedgerHarness, authorized, invoice
from worker.kafka import names
from worker.kafka.records import Record
from worker.ledger.checking import run_audit, run_rebuild
from worker.ledger.foreseeing import foresee
from worker.people import dead_letters, discarding
from worker.people.acting import Actor, Refused
from worker.people.dead_letters import Filter

CHANGE = {"orderId": "o1", "requestId": "c", "reason": "r", "discountValue": 6000, "incrementValue": 0}
MORE = CHANGE | {"requestId": "more", "discountValue": 0, "incrementValue": 3000}


@pytest.fixture
async def refused(ledger: LedgerHarness) -> int:
    """A change that was refused for what the order was worth, and would be accepted now: its dead letter."""
    await ledger.apply("order.authorized", authorized("o1", value=5000, payments=[{"value": 10_000}]))
    await ledger.apply("order.changed", CHANGE)
    await ledger.apply("order.changed", MORE)
    return int(await ledger.value("SELECT id FROM dead_letters"))


def header(dead_letter: object) -> list[tuple[str, bytes]]:
    return [("settlement-replay", str(dead_letter).encode())]


async def is_sound(ledger: LedgerHarness) -> bool:
    return bool((await run_audit(ledger.settings))["ok"] and (await run_rebuild(ledger.settings))["ok"])


async def test_the_first_copy_is_judged_again_and_the_second_is_a_duplicate(ledger: LedgerHarness, refused: int):
    ledger.send("order.changed", CHANGE, headers=header(refused))
    ledger.send("order.changed", CHANGE, headers=header(refused))
    await ledger.cycle()
    await ledger.apply("order.changed", CHANGE, headers=header(refused))

    assert ledger.state("o1")["value"] == 2000
    assert await ledger.rows("SELECT status, decided_by, returned_offset FROM dead_letters") == [
        ("replayed", "settlement-replay", 3)
    ]
    assert await ledger.value("SELECT sum(duplicates) FROM consumed") == 2
    assert await is_sound(ledger)


async def test_what_is_refused_again_is_one_new_dead_letter_however_often_its_replay_arrives(ledger: LedgerHarness):
    await ledger.apply("order.authorized", authorized("o1", value=5000))
    await ledger.apply("order.changed", CHANGE)
    first = await ledger.value("SELECT id FROM dead_letters")
    for _ in range(3):
        await ledger.apply("order.changed", CHANGE, headers=header(first))

    assert await ledger.rows("SELECT status FROM dead_letters ORDER BY id") == [("replayed",), ("open",)]
    page = await dead_letters.read_page(ledger.connection, first)
    second = await ledger.value("SELECT max(id) FROM dead_letters")
    assert page.became == f"It was judged again and refused again: dead letter {second}."
    assert (await dead_letters.read_page(ledger.connection, second)).letter.replay_of == first
    assert await is_sound(ledger)


@pytest.mark.parametrize("lie", [b"", b"x", b"-1", b"999999", b"9" * 40, b"\xff", "١".encode()])
async def test_a_header_that_names_no_dead_letter_changes_nothing(ledger: LedgerHarness, refused: int, lie: bytes):
    await ledger.apply("order.changed", CHANGE, headers=[("settlement-replay", lie)])

    assert ledger.state("o1")["value"] == 8000, "a refused fact repeated stays refused (R8)"
    assert await ledger.rows("SELECT id, status FROM dead_letters") == [(refused, "open")]
    assert await is_sound(ledger)


async def test_a_header_that_names_a_dead_letter_of_another_topic_changes_nothing(ledger: LedgerHarness, refused: int):
    await ledger.apply("invoice.issued", invoice("o1", "1", 100), headers=header(refused))

    assert await ledger.rows("SELECT status FROM dead_letters") == [("open",)]
    assert ledger.commands() == [("settle", 100)], "and the fact itself is not lost"


async def test_what_another_tool_sends_back_with_its_headers_is_a_repeat_and_not_judged_again(
    ledger: LedgerHarness, refused: int
):
    died = next(one for one in ledger.outgoing if one.topic == "erp.order-changes.v1-dlt")
    await ledger.apply("order.changed", CHANGE, headers=died.headers)

    assert ledger.state("o1")["value"] == 8000
    assert await ledger.rows("SELECT status FROM dead_letters") == [("open",)]
    assert await is_sound(ledger)


async def test_what_was_discarded_is_not_judged_again(ledger: LedgerHarness, refused: int):
    assert (await discarding.discard(ledger.connection, Actor("ana", "of no use"), [refused])).number == 1
    assert (await discarding.discard(ledger.connection, Actor("ana", "of no use"), [refused])).number == 0

    await ledger.apply("order.changed", CHANGE, headers=header(refused))

    assert ledger.state("o1")["value"] == 8000
    assert await ledger.rows("SELECT status, decided_by, decided_reason FROM dead_letters") == [
        ("discarded", "ana", "of no use")
    ]
    assert await ledger.rows("SELECT action, decided_by, dead_letter FROM people.acts") == [("discard", "ana", refused)]


async def test_a_replay_that_has_to_wait_is_judged_again_when_its_order_comes(ledger: LedgerHarness, refused: int):
    """The order's rows are those of another order: a replay of a fact for an order that nobody knows waits (R29)."""
    late = CHANGE | {"orderId": "o2"}
    await ledger.apply("order.changed", late)
    ledger.now_ms += ledger.settings.parking_ms + 1
    await ledger.cycle()
    number = await ledger.value("SELECT id FROM dead_letters WHERE reason = 'order_unknown'")

    await ledger.apply("order.changed", late, headers=header(number))
    assert (await dead_letters.read_page(ledger.connection, number)).became == "It waits for its order."
    await ledger.apply("order.authorized", authorized("o2"))

    assert ledger.state("o2")["value"] == 4000
    page = await dead_letters.read_page(ledger.connection, number)
    assert (page.letter.status, page.became) == ("replayed", "It was judged again and applied.")
    assert await is_sound(ledger)


async def test_a_look_ahead_says_what_the_ledger_would_decide_and_writes_nothing(ledger: LedgerHarness, refused: int):
    [letter] = await dead_letters.read(ledger.connection, [refused])
    other = Record(names.INVOICES, 0, 7, None, b"{", [], 0)
    tables = ("facts", "entries", "events", "dead_letters", "orders", "parked", "consumed")
    before = [await ledger.rows(f"SELECT * FROM {one} ORDER BY 1, 2") for one in tables]

    async with ledger.connection.transaction(readonly=True):
        accepted, unreadable, repeated = await foresee(
            ledger.connection, ledger.settings, [letter.record, other, letter.record], ledger.now_ms
        )

    assert (accepted.fate, [event.type for event in accepted.events]) == (
        "applied",
        ["change.accepted", "void.requested"],
    )
    assert (unreadable.fate, unreadable.reason) == ("dead_lettered", "malformed")
    assert repeated.fate == "duplicate", "one after another, as they would come"
    assert [await ledger.rows(f"SELECT * FROM {one} ORDER BY 1, 2") for one in tables] == before


async def test_dead_letters_are_found_by_topic_reason_merchant_order_and_age(ledger: LedgerHarness, refused: int):
    ledger.send("invoice.issued", {"orderId": "o1"}, raw=b"{")
    await ledger.cycle()
    [(died,)] = await ledger.rows("SELECT dead_at FROM dead_letters WHERE id = $1", refused)

    async def found(**wanted: object) -> list[str]:
        return [one.reason for one in await dead_letters.find(ledger.connection, Filter(**wanted))]

    assert await found() == ["malformed", "rejected"]
    assert await found(topic=names.INVOICES) == ["malformed"]
    assert await found(reason="rejected") == ["rejected"]
    assert await found(merchant="shop") == ["rejected"]
    assert await found(order_id="o1") == ["malformed", "rejected"], "what could not be read is known by its key"
    assert await found(before=died) == ["malformed", "rejected"]
    assert await found(status="replayed") == []
    assert await dead_letters.count_open(ledger.connection) == {"malformed": 1, "rejected": 1}


async def test_a_dead_letter_that_does_not_exist_is_refused_with_a_sentence(ledger: LedgerHarness):
    for number in (7, 0, -1, 2**70):
        with pytest.raises(Refused, match=f"no dead letter {number} is known"):
            await dead_letters.read_page(ledger.connection, number)


async def test_nobody_acts_without_name_and_reason(ledger: LedgerHarness):
    for name, reason in (("", "why"), ("  ", "why"), ("ana", ""), ("a\0", "why"), ("ana", "x" * 1001)):
        with pytest.raises(Refused):
            Actor(name, reason)


async def test_what_people_did_is_written_once_and_never_again(ledger: LedgerHarness, refused: int):
    await discarding.discard(ledger.connection, Actor("ana", "of no use"), [refused])

    for statement in ("UPDATE people.acts SET reason = 'x'", "DELETE FROM people.acts", "TRUNCATE people.acts"):
        with pytest.raises(Exception, match="append-only"):
            await ledger.connection.execute(statement)
