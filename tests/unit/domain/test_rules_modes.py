"""R1–R3: the modes of connectors, and the shares of several recipients."""

import pytest

from tests.unit.domain.scenario import Scenario, added, auto, cancel, change, out, pay, recipient, tracking
from worker.domain.facts import Recipient
from worker.domain.published import needs_authorization
from worker.domain.terms import Capability

# R1


@pytest.mark.parametrize(
    ("by", "mode"), [("partial", "PARTIAL"), ("total", "TOTAL"), ("hold", "HOLD"), ("legacy", "TOTAL")]
)
def test_r1_the_mode_is_that_of_the_connector_and_legacy_runs_as_total(by: str, mode: str) -> None:
    assert Scenario(by=by).order.mode == mode


def test_r1_a_legacy_connector_runs_as_total_whatever_mode_it_names() -> None:
    scenario = Scenario(by="old", connectors={"old": Capability("HOLD", legacy=True)})

    assert scenario.order.mode == "TOTAL"


def test_r1_orders_of_a_merchant_without_partial_settlement_run_as_total() -> None:
    scenario = Scenario(partial_settlement=False).play("Out 2000; Out 8000")

    assert scenario.order.mode == "TOTAL"
    assert scenario.commands == "settle 10000"


def test_r1_the_merchants_switch_is_read_only_when_the_order_is_applied() -> None:
    scenario = Scenario()
    scenario.switches["partial_settlement"] = False

    assert scenario.play("Out 2000; Out 8000").commands == "settle 2000, settle 8000"


# R2


@pytest.mark.parametrize(
    "others", [("partial", "hold"), ("partial", "total"), ("hold", "total"), ("partial", "legacy")]
)
def test_r2_payments_of_different_modes_run_as_total(others: tuple[str, str]) -> None:
    assert Scenario(pay("a", 7000, by=others[0]), pay("b", 3000, by=others[1])).order.mode == "TOTAL"


def test_r2_facts_are_parked_until_the_file_names_an_unknown_connector() -> None:
    scenario = Scenario(by="new")
    scenario.play("Out 6000; discount 1500")

    assert scenario.commands == ""
    assert scenario.fates["parked"] == 2
    scenario.name_connectors(new=Capability("PARTIAL"))
    assert scenario.commands == "settle 6000, cancel 1500"
    assert scenario.order.mode == "PARTIAL"


def test_r2_every_kind_of_fact_is_parked_while_a_connector_is_unknown() -> None:
    scenario = Scenario(by="new")

    for fact in (
        out("1", 1),
        change("c1", 1),
        cancel(),
        auto(1),
        tracking("1", courier="x"),
        added(pay("p2", 1)),
    ):
        assert scenario.give(fact).fate == "parked", fact


def test_r2_the_mode_is_decided_only_when_the_file_names_all_connectors() -> None:
    scenario = Scenario(pay("a", 7000, by="new"), pay("b", 3000, by="newer"))
    scenario.play("Out 2000")

    scenario.name_connectors(new=Capability("PARTIAL"))
    assert (scenario.order.mode, scenario.commands) == (None, "")
    scenario.name_connectors(newer=Capability("HOLD"))
    assert scenario.order.mode == "TOTAL"
    assert scenario.commands == "settle 3000, settle 7000"


def test_r2_while_a_later_payments_connector_is_unknown_outcomes_are_booked_and_nothing_is_sent() -> None:
    scenario = Scenario().play("increase 2000; hold; Out 12000; pay p2 2000 by new; ok settle 10000; go")
    assert (scenario.commands, scenario.payment().settled) == ("settle 10000", 10000)

    scenario.name_connectors(new=Capability("PARTIAL"))

    assert scenario.commands_of("p2") == "settle 2000"
    scenario.shows("S 12000, finished")


def test_r2_a_repeat_of_the_order_is_a_duplicate_while_its_connector_is_unknown() -> None:
    scenario = Scenario(by="new")

    assert scenario.play("again").fates["duplicate"] == 1


def test_r2_later_files_do_not_change_the_mode() -> None:
    scenario = Scenario().name_connectors(partial=Capability("HOLD"))

    assert scenario.play("Out 2000; pay p2 500; Out 8000").commands.startswith("settle 2000, settle 8000")
    assert scenario.order.mode == "PARTIAL"


@pytest.mark.parametrize("by", ["total", "hold", "legacy"])
def test_r2_a_later_payment_that_cannot_settle_in_parts_settles_once_when_the_order_is_invoiced(
    by: str,
) -> None:
    scenario = Scenario(pay("p1", 6000), value=10000).play(f"Out 4000; pay p2 4000 by {by}; Out 3000")

    assert scenario.commands == "settle 4000, settle 2000"
    scenario.shows("lacks 1000, still open").play("Out 3000")
    assert scenario.commands_of("p2") == "settle 4000"
    assert (scenario.issued[-1].cause_kind, scenario.issued[-1].cause_id) == ("total", "o1")
    assert scenario.order.mode == "PARTIAL"
    scenario.shows("S 10000, finished")


@pytest.mark.parametrize("by", ["total", "hold"])
def test_r2_what_a_later_payment_will_settle_once_all_is_invoiced_waits_for_no_other_authorization(by: str) -> None:
    scenario = Scenario(pay("p1", 6000), value=10000).play(f"Out 7000; pay p2 2500 by {by}")
    assert (scenario.state["waiting"], needs_authorization(scenario.order)) == (0, False)

    scenario.play("Out 1501")
    assert (scenario.state["waiting"], needs_authorization(scenario.order)) == (1, True)

    assert scenario.play("Out 1499").commands_of("p2") == "settle 2500"
    assert scenario.state["waiting"] == 1500


def test_r2_voids_of_a_later_payment_that_settles_once_are_booked_and_not_sent() -> None:
    scenario = Scenario(pay("p1", 6000), value=10000).play("Out 6000; pay p2 4000 by total; discount 1500; Out 2500")

    assert scenario.commands_of("p2") == "settle 2500"
    scenario.shows("S 8500, C 1500, finished")


def test_r2_later_payments_that_settle_once_share_what_invoices_lack() -> None:
    """No amount is taken twice, so each invoice is done, or fails, for its own value."""
    scenario = Scenario(pay("p1", 1000), value=5000).play(
        "Out 2000; pay a 5000 by total; pay b 2000 by total; hold; Out 3000"
    )

    assert (scenario.commands_of("b"), scenario.commands_of("a")) == ("settle 2000", "settle 2000")
    assert (scenario.invoice("1")["done"], scenario.invoice("2")["done"]) == (1000, 0)
    scenario.play("ok settle 2000 on b; declined settle 2000 on a")

    assert (scenario.invoice("1")["status"], scenario.invoice("1")["done"]) == ("settled", 2000)
    assert (scenario.invoice("2")["status"], scenario.invoice("2")["done"]) == ("settlement_failed", 1000)


def test_r2_a_later_payment_in_a_total_order_is_settled_once_whatever_its_connector_can() -> None:
    scenario = Scenario(pay("p1", 6000, by="total"), value=10000).play("Out 2000; pay p2 4000; Out 2000; Out 6000")

    assert scenario.order.mode == "TOTAL"
    assert scenario.commands_of("p1") == "settle 6000"
    assert scenario.commands_of("p2") == "settle 4000"
    scenario.shows("S 10000, finished")


# The table of modes


def test_total_lacks_money_only_when_invoices_exceed_what_was_settled() -> None:
    """Until then nothing waits, and a new payment is not asked."""
    scenario = Scenario(pay("p1", 6000, by="total"), value=10000).play("Out 2000; pay p2 4000 by total")

    assert scenario.commands == "settle 6000"
    scenario.shows("lacks 0, waits 0").play("Out 4000")
    assert scenario.commands == "settle 6000"
    scenario.play("Out 1000")
    assert scenario.commands == "settle 6000, settle 4000"
    scenario.play("Out 3000").shows("S 10000, finished")


def test_total_sends_no_second_settle_even_if_the_first_failed() -> None:
    scenario = Scenario(by="total").script("settle", "declined").play("Out 2000; Out 3000")

    assert scenario.commands == "settle 10000"
    scenario.shows("S 0, P 0, attention").play("retry settle 10000")
    scenario.shows("S 10000").play("Out 5000").shows("finished")
    assert scenario.commands == "settle 10000, settle 10000"


@pytest.mark.parametrize(("answer", "taken"), [("short 9000", 9000), ("declined", 0)])
def test_total_a_discount_reduces_the_failed_amount_of_the_settle(answer: str, taken: int) -> None:
    scenario = Scenario(by="total").script("settle", answer).play("Out 2000; discount 1000")

    assert sum(amount for _, amount in scenario.attention) == 9000 - taken
    if not taken:
        scenario.play("retry settle 10000")
    scenario.play("Out 7000").shows("S 9000, C 1000, finished")
    assert scenario.state["status"] == "finished"


def test_total_an_increase_after_the_settle_needs_a_new_payment() -> None:
    scenario = Scenario(pay("p1", 10000, cap=12000, by="total")).play("Out 2000; increase 1500")

    assert 1500 in scenario.event("authorization.needed").numbers.values()
    scenario.play("Out 9500").shows("waits 1500, invoiced").play("pay p2 1500 by total").shows("S 11500, finished")
    assert scenario.commands == "settle 10000, settle 1500"


def test_total_settles_an_increase_before_the_first_invoice_from_the_room_above() -> None:
    assert Scenario(pay("p1", 10000, cap=12000, by="total")).play("increase 1500; Out 2000").commands == "settle 11500"


def test_hold_settles_when_a_change_makes_the_order_invoiced() -> None:
    scenario = Scenario(by="hold").play("Out 2000; Out 3000; discount 5000")

    assert scenario.commands == "settle 5000"
    scenario.shows("S 5000, C 5000, finished")


def test_hold_reports_nothing_as_waiting_or_lacking_before_the_order_is_invoiced() -> None:
    scenario = Scenario(by="hold").play("Out 2000")

    assert scenario.state["waiting"] == 0
    assert scenario.state["status"] == "open"


def test_hold_settles_under_one_id_whichever_invoice_completes_the_order() -> None:
    first = Scenario(by="hold").play("Out 6000; Out 4000")
    second = Scenario(by="hold").play("Out 4000; Out 6000")

    assert [one.request_id for one in first.issued] == [one.request_id for one in second.issued]
    assert [(one.cause_kind, one.cause_id) for one in first.issued] == [("total", "o1")]


def test_total_cancels_a_payment_only_when_all_of_it_is_voided() -> None:
    """`D` is the part that was not yet booked; the booked part stays voided when the cancel is declined."""
    scenario = Scenario(by="total").play("hold; discount 2000; discount 3000").shows("C 5000, D 0")

    scenario.play("cancel").shows("C 5000, D 5000")
    assert scenario.commands == "cancel 10000"
    scenario.play("declined cancel 10000").shows("C 5000, D 0, open 5000, canceled")


def test_total_over_two_payments_cancels_the_one_that_is_voided_whole() -> None:
    """A void takes the lowest payment first (R25): all of b, so its cancel is sent; the part of a is only booked."""
    scenario = Scenario(pay("a", 7000, by="total"), pay("b", 3000, by="total")).play("discount 4000")

    assert scenario.commands == "cancel 3000"
    assert scenario.issued[0].payment_id == "b"
    scenario.shows("C 4000").play("Out 6000")
    assert scenario.commands_of("a") == "settle 6000"
    scenario.shows("S 6000, C 4000, finished")


def test_total_books_parts_until_the_whole_payment_is_voided_then_cancels_it_once() -> None:
    scenario = Scenario(pay("a", 7000, by="total"), pay("b", 3000, by="total")).play("discount 1000; discount 2000")

    assert scenario.commands == "cancel 3000"
    scenario.shows("C 3000")


def test_total_books_the_void_of_an_open_rest_while_the_settle_is_in_flight() -> None:
    """A cancel would cancel the whole authorization, of which most is being captured."""
    scenario = Scenario(pay("p1", 4500, by="total"), value=4000).play("hold; Out 1000; increase 500; discount 500")

    assert scenario.commands == "settle 4000"
    scenario.shows("P 4000, C 500").play("go; Out 3000").shows("S 4000, C 500, finished")


@pytest.mark.parametrize("by", ["total", "hold"])
def test_refunds_are_exact_in_total_and_hold(by: str) -> None:
    scenario = Scenario(by=by).play("Out 10000; return 2500; return 100")

    assert scenario.commands == "settle 10000, refund 2500, refund 100"
    scenario.shows("F 2600, finished")


# R3

SELLERS = (recipient("x", 7000), recipient("y", 3000))


def shares(scenario: Scenario) -> list[list[int]]:
    return [[amount for amount, _ in one.shares] for one in scenario.issued]


@pytest.mark.parametrize(
    ("by", "mode"), [("partial", "TOTAL"), ("split", "PARTIAL"), ("hold", "HOLD"), ("total", "TOTAL")]
)
def test_r3_payments_with_recipients_run_as_total_unless_the_connector_splits_parts(by: str, mode: str) -> None:
    assert Scenario(pay("p1", 10000, by=by, recipients=SELLERS)).order.mode == mode


def test_r3_a_settle_is_divided_by_what_each_recipient_has_left_and_the_last_is_exact() -> None:
    scenario = Scenario(pay("p1", 10000, by="split", recipients=SELLERS)).play("Out 3333; Out 3333; Out 3334")

    assert shares(scenario) == [[2333, 1000], [2333, 1000], [2334, 1000]]


def test_r3_ties_of_remainders_go_in_list_order() -> None:
    three = tuple(recipient(name, 1) for name in "xyz")
    scenario = Scenario(pay("p1", 3, by="split", recipients=three)).play("Out 1; Out 1; Out 1")

    assert shares(scenario) == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_r3_a_void_reduces_the_shares_in_proportion() -> None:
    scenario = Scenario(pay("p1", 10000, by="split", recipients=SELLERS)).play("discount 1500; Out 8500")

    assert shares(scenario)[-1] == [5950, 2550]


def test_r3_a_booked_void_reduces_the_shares_in_proportion() -> None:
    scenario = Scenario(pay("p1", 10000, by="hold", recipients=SELLERS)).play("discount 1500; Out 8500")

    assert shares(scenario) == [[5950, 2550]]


def test_r3_a_declined_void_restores_the_shares() -> None:
    scenario = Scenario(pay("p1", 10000, by="split", recipients=SELLERS)).script("cancel", "declined")
    scenario.play("discount 1500; increase 1500; Out 10000")

    assert shares(scenario)[-1] == [7000, 3000]


def test_r3_a_declined_settle_restores_the_shares_and_a_short_one_keeps_their_proportion() -> None:
    declined = Scenario(pay("p1", 10000, by="split", recipients=SELLERS)).script("settle", "declined", "ok")
    short = Scenario(pay("p1", 10000, by="split", recipients=SELLERS)).script("settle", "short 4500", "ok")

    assert shares(declined.play("Out 3333; Out 3333; retry settle 3333")) == [
        [2333, 1000],
        [2333, 1000],
        [2333, 1000],
    ]
    assert shares(short.play("Out 6000; retry settle 6000")) == [[4200, 1800], [1050, 450]]


def test_r3_a_share_in_flight_is_not_given_twice() -> None:
    scenario = Scenario(pay("p1", 10000, by="split", recipients=SELLERS)).play("hold; Out 5000; Out 5000")

    assert shares(scenario) == [[3500, 1500], [3500, 1500]]


@pytest.mark.parametrize("by", ["split", "total", "hold"])
def test_r3_no_settle_takes_more_than_was_promised_to_the_recipients(by: str) -> None:
    """The card would allow 12000, but the sellers were promised 10000: the rest needs another authorization."""
    scenario = Scenario(pay("p1", 10000, cap=12000, by=by, recipients=SELLERS))

    scenario.play("increase 2000; Out 12000").shows("S 10000, waits 2000")

    assert shares(scenario) == [[7000, 3000]]
    assert scenario.event("authorization.needed").numbers == {"needed": 2000}
    scenario.play(f"pay p2 2000 by {by}").shows("S 12000, finished")


def test_r26_an_amount_too_small_to_settle_counts_as_taken_once_recipients_were_promised_no_more() -> None:
    payment = pay("p1", 1, reference=10, cap=5, by="split", recipients=(recipient("x", 1),))

    Scenario(payment).play("Out 1").shows("K 0").play("discount 7").shows("K 1, lacks 0, still open")


def test_r3_when_a_capture_was_our_own_settle_the_shares_are_those_of_the_settle() -> None:
    """The capture was reported before the reply; meanwhile the shares were counted by another rounding."""
    scenario = Scenario(pay("p1", 10, by="split", recipients=(recipient("x", 7), recipient("y", 3))))
    scenario.play("hold; Out 5; auto 5 as g1; ok settle 5 as g1; go; Out 5")

    assert shares(scenario) == [[4, 1], [3, 2]]


def test_r3_undoing_a_booked_void_restores_each_recipients_share() -> None:
    """1 and 0 of x and y were captured, 2 and 3 voided. Without the void 4 and 5 are left; 3 and 3 are captured."""
    scenario = Scenario(pay("p1", 10, by="total", recipients=(recipient("x", 5), recipient("y", 5))))
    scenario.play("auto 1; discount 5; auto 6 as g2")

    assert [one.rest for one in scenario.payment().shares] == [1, 2]


def test_r3_refunds_and_cancels_carry_no_recipients() -> None:
    from worker.domain.published import command_message

    scenario = Scenario(pay("p1", 10000, by="split", recipients=SELLERS)).play("Out 6000; discount 1000; return 500")

    carried = {
        one.operation: bool(command_message(scenario.order, one, 0).get("recipients")) for one in scenario.issued
    }
    assert carried == {"settle": True, "cancel": False, "refund": False}


def test_r3_commissions_are_divided_with_the_shares_and_sum_to_their_total() -> None:
    parties = (recipient("x", 7000, commission=701), recipient("y", 3000, commission=10), recipient("z", 0))
    scenario = Scenario(pay("p1", 10000, by="split", recipients=parties)).play("Out 1; Out 3332; Out 3333; Out 3334")

    commissions = [[more for _, more in one.shares] for one in scenario.issued]
    assert [sum(column) for column in zip(*commissions, strict=True)] == [701, 10, 0]
    assert min(min(row) for row in commissions) >= 0


def test_r3_a_recipient_who_receives_nothing_pays_no_commission() -> None:
    scenario = Scenario(pay("p1", 10000, by="split", recipients=(recipient("x", 10000, 500), recipient("y", 0, 7))))

    assert scenario.play("Out 10000").issued[0].shares == ((10000, 500), (0, 0))


@pytest.mark.parametrize("amounts", [(1, 1), (9999, 1), (3333, 3333, 3334), (0, 10000), (1, 2, 3, 9994)])
def test_r3_shares_are_whole_exact_and_never_negative(amounts: tuple[int, ...]) -> None:
    parties: tuple[Recipient, ...] = tuple(recipient(f"r{n}", amount) for n, amount in enumerate(amounts))
    scenario = Scenario(pay("p1", sum(amounts), by="split", recipients=parties))
    for number in range(5):
        left = scenario.order.value - scenario.order.invoiced
        if left > 0:
            scenario.give(out(str(number), left if number == 4 else max(1, left // 3)))

    assert scenario.order.phase == "finished"
    sums = [sum(column) for column in zip(*shares(scenario), strict=True)]
    assert sums == list(amounts)


@pytest.mark.parametrize(
    ("by", "play", "left"),
    [
        ("split", "hold; Out 3333; manual settle 3333; resolve 4000 settle 3333", [(3600, 360), (2400, 0)]),
        ("split", "hold; Out 3000; manual settle 3000; resolve 1000 settle 3000", [(5400, 540), (3600, 0)]),
        ("split", "hold; Out 3000; auto 3000 as g1; ok settle 3000 as g1", [(4200, 420), (2800, 0)]),
        ("split", "hold; discount 1000; manual cancel 1000; resolve 400 cancel 1000", [(5760, 576), (3840, 0)]),
        ("split", "hold; discount 1000; manual cancel 1000; resolve 1400 cancel 1000", [(5160, 516), (3440, 0)]),
        ("split", "hold; discount 1000; declined cancel 1000", [(6000, 600), (4000, 0)]),
        ("split", "hold; Out 3000; declined settle 3000", [(6000, 600), (4000, 0)]),
        ("split", "auto 11000", [(-600, 0), (-400, 0)]),
        (
            "split",
            "hold; Out 4000; Out 6000; manual settle 4000; resolve 5000 settle 4000; declined settle 6000",
            [(3000, 360), (2000, 0)],
        ),
        ("total", "discount 1000; auto 9200", [(480, 48), (320, 0)]),
        ("total", "discount 1000; discount 500", [(5100, 510), (3400, 0)]),
        ("total", "discount 1000; discount 500; auto 9200", [(480, 48), (320, 0)]),
        (
            "total",
            "discount 1000; hold; cancel; manual cancel 10000; resolve 3000 cancel 10000",
            [(4200, 420), (2800, 0)],
        ),
    ],
)
def test_r3_the_shares_that_are_left_sum_to_what_the_payment_has_left(by: str, play: str, left: list[object]) -> None:
    sellers = (recipient("x", 6000, 600), recipient("y", 4000))
    scenario = Scenario(pay("p1", 10000, cap=12000, by=by, recipients=sellers))

    scenario.play(play)

    assert [(one.rest, one.commission_rest) for one in scenario.order.payments[0].shares] == left


def test_r3_a_short_settle_takes_no_commission_from_a_recipient_without_a_share() -> None:
    scenario = Scenario(pay("p1", 10000, by="split", recipients=(recipient("x", 9000, 900), recipient("y", 1000, 100))))
    scenario.play("hold; Out 2; short 1 settle 2")

    assert shares(scenario) == [[2, 0]]
    assert [(one.rest, one.commission_rest) for one in scenario.payment().shares] == [(8999, 900), (1000, 100)]


@pytest.mark.parametrize("by", ["total", "hold"])
def test_r16_the_waiting_part_of_a_total_is_settled_by_a_new_payment_also_after_a_capture(by: str) -> None:
    scenario = Scenario(pay("a", 2800, by=by), value=3300)
    scenario.play("hold; Out 1700; Out 1600; declined settle 2800; go; auto 1900").shows("waits 500, lacks 1400")

    scenario.play(f"pay b 1600 by {by}").shows("waits 0")
    assert scenario.commands_of("b") == "settle 500"

    scenario.play("abandon settle 2800").shows("S 2400, lacks 900, finished")


@pytest.mark.parametrize("by", ["total", "hold"])
def test_r39_a_failed_total_can_be_retried_for_what_a_capture_left_of_it(by: str) -> None:
    scenario = Scenario(pay("a", 2800, by=by), value=3300)
    scenario.play("hold; Out 1700; Out 1600; declined settle 2800; go; auto 1900")
    assert scenario.attention == [("failed", 900)]

    scenario.play(f"retry settle 2800; pay b 500 by {by}").shows("S 3300, C 0, finished")
    assert (scenario.commands_of("a"), scenario.commands_of("b")) == ("settle 2800, settle 900", "settle 500")


def test_r16_an_increase_is_settled_by_its_new_payment_after_a_capture_of_the_failed_total() -> None:
    scenario = Scenario(by="total").script("settle", "declined").play("Out 2000; increase 1500; auto 10000")
    assert scenario.state["status"] == "open"

    scenario.play("pay c 1500 by total; Out 9500").shows("S 11500, finished")
    assert scenario.commands == "settle 10000, settle 1500"
