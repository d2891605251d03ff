"""A row of the live view ends the same, whatever the order of the topics and the repeats of records."""

import random
from collections import Counter
from collections.abc import Iterator
from itertools import chain

import msgspec
import pytest

from tests.unit.domain.scenario import Scenario
from worker.domain.decide import decide
from worker.domain.facts import Authorization, Fact, InvoiceIssued, OrderAuthorized, OrderChanged, OutcomeReported
from worker.domain.order import Order
from worker.domain.published import command_message, event_message, order_state
from worker.domain.terms import Capability, Terms
from worker.ops.count import Count
from worker.ops.row import DECODERS, KEPT_AFTER_END_MS, Moved, Row, fold, is_expired
from worker.ops.totals import Totals, positive

NOON_MS = 1_768_478_400_000
TERMS = Terms(now_ms=NOON_MS, capabilities={"acme": Capability("PARTIAL")})

Sent = tuple[str, str, dict]


def messages() -> dict[str, list[Sent]]:
    """All messages about one order, by topic: two sales, a discount, a return."""
    payment = Authorization(payment_id="p", transaction_id="T", authorization_id="A", connector="acme", value=10_000,
                            reference_value=10_000, max_value=10_000)  # fmt: skip
    facts: list[Fact] = [
        OrderAuthorized(order_id="o", merchant="shop", currency="USD", value=10_000, payments=(payment,)),
        InvoiceIssued(order_id="o", type="Output", invoice_number="1", invoice_value=6_000),
        OrderChanged(order_id="o", request_id="c", discount_value=1_500, increment_value=0),
        InvoiceIssued(order_id="o", type="Output", invoice_number="2", invoice_value=2_500),
        InvoiceIssued(order_id="o", type="Input", invoice_number="3", invoice_value=500),
    ]
    sent: dict[str, list[Sent]] = {"state": [], "event": [], "command": [], "outcome": []}
    order = Order("o")
    while facts:
        decision = decide(order, facts.pop(0), TERMS)
        order = decision.order
        for event in decision.events:
            sent["event"].append(("event", event.type, event_message(order, event, None, NOON_MS)))
        for command in decision.commands:
            sent["command"].append(("command", "command.x", command_message(order, command, NOON_MS)))
            done = {"orderId": "o", "commandId": command.command_id, "at": "2026-01-15T12:00:01Z"}
            sent["outcome"].append(("outcome", "command.succeeded", done))
            facts.insert(0, OutcomeReported(
                order_id="o", outcome="succeeded", command_id=command.command_id, payment_id="p", value=command.value,
                operation_id=command.command_id,
            ))  # fmt: skip
        sent["state"].append(("state", "order.state", order_state(order)))
    assert order.phase == "finished"
    return sent


def shuffled(sent: dict[str, list[Sent]], dice: random.Random) -> Iterator[Sent]:
    """The messages, each topic in its order, interleaved at random, with some stretches repeated."""
    positions = dict.fromkeys(sent, 0)
    while unfinished := [topic for topic, position in positions.items() if position < len(sent[topic])]:
        topic = dice.choice(unfinished)
        yield sent[topic][positions[topic]]
        positions[topic] += 1
        if dice.random() < 0.2:
            back = dice.randrange(positions[topic])
            yield from sent[topic][back : positions[topic]]


@pytest.mark.parametrize("seed", range(30))
def test_a_row_ends_the_same_in_every_order_of_arrival_with_any_repeats(seed: int) -> None:
    sent = messages()
    row = Row()
    for shape, kind, data in shuffled(sent, random.Random(seed)):
        row = fold(row, DECODERS[shape](msgspec.json.encode(data)), kind)

    assert row.state == DECODERS["state"](msgspec.json.encode(sent["state"][-1][2]))
    assert row.moved == Moved(NOON_MS // 86_400_000, settled=8_500, refunded=500, voided=1_500)
    assert row.open_commands == {}
    assert row.event_sequence == len(sent["event"])
    assert msgspec.json.decode(msgspec.json.encode(row), type=Row) == row


def test_a_row_stored_by_an_earlier_version_is_read():
    """A new shape needs another name of the table (`CHANGELOGS`), so that the table is built anew."""
    stored = (
        b'[{"orderId":"o","merchant":"shop","currency":"USD","status":"open","value":10000,"authorized":10000,"settled":0,'
        b'"settling":6000,"refunding":0,"voiding":0,"open":4000,"waiting":2000,"version":2,"updatedAt":"2026-01-15T12:00:00Z",'
        b'"payments":[{"connector":"acme"}],"attention":[{"code":"failed","amount":2500}]},2,[0,0,0,0],{"p":1},{"c":["acme",6000,1768478400000,""]},{}]'
    )

    row = msgspec.json.decode(stored, type=Row)

    assert msgspec.json.encode(row) == stored
    assert row.state is not None
    assert (row.state.settling, row.event_sequence, row.open_commands["c"].value) == (6_000, 2, 6_000)
    assert msgspec.json.decode(b'[3,{"0":7}]', type=Count) == Count(3, {0: 7})


@pytest.mark.parametrize(("by", "play", "expected"), [
    ("total", "discount 2000; cancel", (0, 0, 10_000)),
    ("total", "discount 4000; auto 8000", (8_000, 2_000, 0)),
    ("total", "discount 2000; hold; cancel; short 5000 cancel 10000", (0, 0, 5_000)),
    ("total", "discount 2000; Out 8000", (8_000, 0, 2_000)),
    ("partial", "hold; Out 4000; auto 4000 as g1; ok settle 4000 as g1", (4_000, 0, 0)),
    ("partial", "Out 6000; discount 1500; Out 2500; return 500", (8_500, 500, 1_500)),
], ids=lambda value: value if isinstance(value, str) else "")  # fmt: skip
def test_amounts_moved_today_are_counted_once_however_often_their_events_come(
    by: str, play: str, expected: tuple[int, int, int]
) -> None:
    scenario = Scenario(by=by).play(play)
    row = Row()
    for event in scenario.events:
        row = fold(
            row, DECODERS["event"](msgspec.json.encode(event_message(scenario.order, event, None, NOON_MS))), "event"
        )

    sums = [
        sum(getattr(payment, name) for payment in scenario.order.payments) for name in ("settled", "refunded", "voided")
    ]
    assert (row.moved.settled, row.moved.refunded, row.moved.voided) == tuple(sums) == expected


def test_totals_updated_row_by_row_equal_totals_computed_anew() -> None:
    sent = messages()
    totals, row = Totals(), Row()
    for shape, kind, data in shuffled(sent, random.Random(1)):
        old, row = row, fold(row, DECODERS[shape](msgspec.json.encode(data)), kind)
        totals.replace(old, row)
        expected = Totals.of([row])
        assert positive(totals.statuses) == positive(expected.statuses)
        assert _without_zeros(totals) == _without_zeros(expected)
        assert positive(totals.at_stake) == positive(expected.at_stake)
        assert totals.open_commands == expected.open_commands


def test_orders_that_wait_for_an_authorization_are_counted_until_they_have_it() -> None:
    scenario, totals, old = Scenario().play("increase 2000; Out 12000"), Totals(), None
    for play in ("", "pay p2 2000"):
        new = fold(Row(), DECODERS["state"](msgspec.json.encode(order_state(scenario.play(play).order))), "order.state")
        totals.replace(old, new)
        assert positive(totals.attention) == ({"waiting": 1} if old is None else {})
        assert positive(totals.at_stake) == ({("waiting", "USD"): 2_000} if old is None else {})
        old = new


def test_amounts_that_need_a_person_are_summed_until_someone_has_decided() -> None:
    scenario, totals, old = Scenario(), Totals(), None
    for play, at_stake in (
        ("hold; Out 6000; declined settle 6000", {("failed", "USD"): 6_000}),
        ("Out 1000; manual settle 1000", {("failed", "USD"): 6_000, ("manual", "USD"): 1_000}),
        ("abandon settle 6000", {("manual", "USD"): 1_000}),
    ):
        new = fold(Row(), DECODERS["state"](msgspec.json.encode(order_state(scenario.play(play).order))), "order.state")
        totals.replace(old, new)
        assert positive(totals.at_stake) == at_stake
        old = new


def _without_zeros(totals: Totals) -> dict[tuple[str, str], Counter[str]]:
    return {key: positive(sums) for key, sums in totals.money.items() if positive(sums)}


def test_a_finished_order_is_kept_until_no_repeat_of_its_records_can_arrive() -> None:
    row = Row()
    for shape, kind, data in chain.from_iterable(messages().values()):
        row = fold(row, DECODERS[shape](msgspec.json.encode(data)), kind)
    assert not is_expired(row, NOON_MS + KEPT_AFTER_END_MS)
    assert is_expired(row, NOON_MS + KEPT_AFTER_END_MS + 1)


def test_a_connector_is_listed_even_if_all_its_commands_have_ended() -> None:
    sent = messages()
    row = Row()
    for shape, kind, data in chain.from_iterable(sent.values()):
        row = fold(row, DECODERS[shape](msgspec.json.encode(data)), kind)

    totals = Totals.of([row])

    assert {connector: flow.commands for (connector, _), flow in totals.in_flight.items()} == {"acme": 0}
