"""What follows from every fact: waiting money moves, and the order proceeds to its end (R5, R16, R22)."""

from worker.domain.automatic import judge_waiting
from worker.domain.draft import Draft
from worker.domain.order import Command, Order
from worker.domain.refunding import serve_demands
from worker.domain.settling import absorb_crumbs, ask_for_lacks
from worker.domain.voiding import void_open_rest


def settle_down(draft: Draft) -> None:
    """Decides everything that follows from a fact without anybody asking."""
    order = draft.order
    if order.awaits_connectors:
        return
    if order.unbooked:
        judge_waiting(draft)
    if order.phase == "open" and order.invoiced >= order.value:
        order.phase = "invoiced"
        draft.tell(
            "order.invoiced", "R5", f"All {draft.amount(order.value)} of the order are invoiced (R5)",
            {"value": order.value, "invoiced": order.invoiced}, ("order", order.order_id),
        )  # fmt: skip
    if order.lacks:
        ask_for_lacks(draft)
    if order.lacks or order.mode != "PARTIAL":  # then a settle may miss what no invoice lacks yet
        absorb_crumbs(draft)
    serve_demands(draft)
    if order.phase == "canceled":
        void_open_rest(draft, ("cancel", order.order_id), "R22")
    elif order.phase == "finished" or (order.phase == "invoiced" and (_is_ending(order) or not _held_up(order))):
        _finish(draft)


def _finish(draft: Draft) -> None:
    """Frees the open rest; the order is finished when its voids have an outcome of any kind."""
    order = draft.order
    void_open_rest(draft, ("finish", order.order_id), "R5")
    if order.phase == "finished" or any(_is_finishing(command) for command in order.commands.values()):
        return
    order.phase = "finished"
    draft.tell(
        "order.finished", "R5", f"Order {order.order_id} is finished (R5)",
        {"value": order.value, "invoiced": order.invoiced}, ("order", order.order_id),
    )  # fmt: skip


def _is_ending(order: Order) -> bool:
    """Whether the open rest was voided already: from then on a return does not delay the end."""
    return any(command.operation == "cancel" and command.cause_kind == "finish" for command in order.commands.values())


def _is_finishing(command: Command) -> bool:
    return command.operation == "cancel" and command.cause_kind == "finish" and command.state == "sent"


def _held_up(order: Order) -> bool:
    """Whether anything is in flight, waiting, failed, short, unknown, manual or suspect."""
    return (
        bool(order.demands or order.unbooked)
        or any(lack.kind != "abandoned" for lack in order.lacks)
        or any(_holds_up(command) for command in order.commands.values())
    )


def _holds_up(command: Command) -> bool:
    """A void that was declined or is manual holds nothing up."""
    if command.operation == "cancel":
        return command.state in ("sent", "unknown", "suspect")
    return command.in_flight or command.missing > 0
