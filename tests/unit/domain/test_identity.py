"""Facts are the same (R8) if their key and all that moves money are. Stored fingerprints never change."""

import pytest
from msgspec.structs import replace

from tests.unit.domain.scenario import (
    ORDER,
    Scenario,
    added,
    auto,
    cancel,
    change,
    order_authorized,
    out,
    pay,
    recipient,
    ret,
    tracking,
)  # fmt: skip
from worker.domain.facts import ConnectorsNamed, Fact, OutcomeReported, TimePassed, authorizations
from worker.domain.identity import fingerprint, fingerprint_of_automatic
from worker.domain.ids import command_ids

OUTCOME = OutcomeReported(order_id=ORDER, outcome="resolved", command_id="k", value=5, operation_id="X", at="now")
DIFFERENT: dict[str, tuple[Fact, list[Fact]]] = {
    "a sale": (
        out("1", 6000, "USD"), [out("2", 6000, "USD"), ret("1", 6000, "USD"), out("1", 6001, "USD"), out("1", 6000)],
    ),
    "a change": (change("c1", 500, 100), [change("c2", 500, 100), change("c1", 501, 100), change("c1", 500, 101)]),
    "an automatic settlement": (auto(500, "p1", "g1"), [auto(501), auto(500, "p2", "g1"), auto(500, "p1", "g2")]),
    "a payment": (
        added(pay("p2", 500)),
        [added(pay("p3", 500)), added(pay("p2", 501)), added(pay("p2", 500, reference=400)),
         added(pay("p2", 500, cap=600))],
    ),
    "a split payment": (
        added(pay("p2", 500, recipients=(recipient("x", 200), recipient("y", 300)))),
        [added(pay("p2", 500)), added(pay("p2", 500, recipients=(recipient("x", 300), recipient("y", 200)))),
         added(pay("p2", 500, recipients=(recipient("x", 200, commission=1), recipient("y", 300)))),
         added(pay("p2", 500, recipients=(recipient("x", 200), recipient("z", 300))))],
    ),
    "an order": (
        order_authorized(pay("p1", 500)),
        [order_authorized(pay("p1", 500), currency="EUR"), order_authorized(pay("p1", 500), value=499),
         order_authorized(pay("p2", 500)), order_authorized(pay("p1", 500), pay("p2", 500), value=500)],
    ),
    "an outcome": (
        OUTCOME, [replace(OUTCOME, command_id="l"), replace(OUTCOME, outcome="abandoned"), replace(OUTCOME, value=6),
                  replace(OUTCOME, at="then"), replace(OUTCOME, operation_id="Y")],
    ),
    "tracking": (tracking("1", courier="c"), [tracking("2", courier="c"), tracking("1", courier="d"), tracking("1")]),
    "a cancellation": (cancel(), [TimePassed(order_id=ORDER), ConnectorsNamed(order_id=ORDER)]),
}  # fmt: skip


def test_only_authorizations_add_payments() -> None:
    added_by = {name: [one.payment_id for one in authorizations(fact)] for name, (fact, _) in DIFFERENT.items()}

    assert {name: ids for name, ids in added_by.items() if ids} == {
        "a payment": ["p2"], "a split payment": ["p2"], "an order": ["p1"],
    }  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENT)
def test_r8_the_same_key_with_other_content_has_another_fingerprint(name: str) -> None:
    fact, different = DIFFERENT[name]

    prints = [fingerprint(one) for one in (fact, *different)]

    assert len(set(prints)) == len(prints)


SAME: dict[str, tuple[Fact, Fact]] = {
    "why it was canceled": (cancel("too late"), cancel("too dear")),
    "whether items changed": (change("c1", 500, items=True), change("c1", 500)),
    "who the merchant is": (order_authorized(pay("p1", 500)), order_authorized(pay("p1", 500), merchant="other")),
    "when it runs out": (added(pay("p2", 500, in_hours=5)), added(pay("p2", 500))),
    "a cap that is not above the value": (added(pay("p2", 500, cap=400)), added(pay("p2", 500))),
    "the sequence of the tracking fields": (tracking("1", a="1", b=True), tracking("1", b=True, a="1")),
    "who decided": (replace(OUTCOME, by="Ana"), replace(OUTCOME, by="Bob")),
}


@pytest.mark.parametrize("name", SAME)
def test_r8_fields_that_move_no_money_do_not_change_the_fingerprint(name: str) -> None:
    first, second = SAME[name]

    assert fingerprint(first) == fingerprint(second)


def test_r8_fingerprints_are_the_same_in_every_version() -> None:
    known = {name: fingerprint(fact) for name, (fact, _) in DIFFERENT.items()}

    assert known == {
        "a sale": "597151f274ea1e0b0c571d56",
        "a change": "b27e6a05c690745a6b3fbfe0",
        "an automatic settlement": "e6db7f6bacedb1f9b25e3488",
        "a payment": "20ea8a4e36dfc7ebe6cdef87",
        "a split payment": "c7a1f56aa75f7e2d736df428",
        "an order": "d4a5854ce15fa8f08f0ad261",
        "an outcome": "f18d7917d7df8509ae0f6758",
        "tracking": "e8c9009c55ac05340c9207e9",
        "a cancellation": "a1f75d58f1da15205446169b",
    }
    assert fingerprint(out("1", 6000)) == "8190166a3e573adcd7f5b7e3"
    assert fingerprint(tracking("1")) == "fddc4bce68aa547ef8769897"
    assert fingerprint(replace(OUTCOME, operation_id=None)) == "f4789f51dd0d96763667f58c"
    assert fingerprint_of_automatic("p1", "g1", 500) == known["an automatic settlement"]


def test_i5_command_ids_are_the_same_in_every_version() -> None:
    """A command that was sent before an upgrade is repeated under the same ids after it."""
    assert command_ids(ORDER, "p1", "settle", ("invoice", "1"), None, 1) == (
        "fa142106-5ea8-70a6-faf9-06b5d0828496",
        "a4549a59-bc5f-7c55-16fd-30c50a4b6be3",
    )
    assert command_ids(ORDER, "p1", "refund", ("invoice", "r1"), "settle-1", 2) == (
        "cfb02da3-6c3c-9d37-2652-856450df8d55",
        "3e6fc21c-048a-62ac-f59f-0bd9ceed9d24",
    )


def test_i5_two_orders_share_no_command_id_whatever_characters_their_ids_have() -> None:
    """The second one's command would look like a repeat of the first, and never be sent."""
    cause = ("invoice", "1")
    ids = [
        command_ids(order_id, payment_id, "settle", cause, None, 1)
        for order_id, payment_id in (
            ("o\x1fp", "q"), ("o", "p\x1fq"), ("o\x1f", "p\x1fq"), ("o\x1f\x1fp", "q"), ("op", "q")
        )
    ]  # fmt: skip
    assert len({one for pair in ids for one in pair}) == 2 * len(ids)


def test_i5_command_ids_depend_on_the_cause_the_settlement_and_the_number_of_retries() -> None:
    scenario = Scenario().script("settle", "ok", "declined", "ok").script("refund", "declined")
    scenario.play("Out 6000; Out 4000; retry settle 4000; return 7000; retry refund 6000")

    wanted = [
        command_ids(ORDER, "p1", "settle", ("invoice", "1"), None, 1),
        command_ids(ORDER, "p1", "settle", ("invoice", "2"), None, 1),
        command_ids(ORDER, "p1", "settle", ("invoice", "2"), None, 2),
        command_ids(ORDER, "p1", "refund", ("invoice", "r1"), "settle-1", 1),
        command_ids(ORDER, "p1", "refund", ("invoice", "r1"), "settle-2", 1),
        command_ids(ORDER, "p1", "refund", ("invoice", "r1"), "settle-1", 2),
    ]
    assert [(one.command_id, one.request_id) for one in scenario.issued] == wanted
