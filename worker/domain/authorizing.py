"""Opens orders, adds payments, and lets their authorizations lapse (R1, R2, R3, R26, R28)."""

from worker.domain.allocation import room_reference
from worker.domain.decision import Refusal, Verdict, conflict, refused
from worker.domain.draft import Draft
from worker.domain.facts import Authorization, ConnectorsNamed, OrderAuthorized, PaymentAuthorized, TimePassed
from worker.domain.identity import content_of, order_content
from worker.domain.ids import digest
from worker.domain.money import MAX_MINOR, MAX_SUM
from worker.domain.order import Order, Payment, Share
from worker.domain.settling import tell_missing_room
from worker.domain.terms import Capability, Mode, Terms


def order_authorized(draft: Draft, fact: OrderAuthorized) -> Verdict:
    order = draft.order
    content = digest(*order_content(fact))
    if order.opened:
        if content == order.content:
            return "duplicate"
        return conflict(f"Order {order.order_id} is already authorized with other content")
    if (refusal := _foreign(draft.terms)) is not None:
        return refusal
    order.opened = True
    order.merchant, order.currency, order.value, order.content = fact.merchant, fact.currency, fact.value, content
    draft.tell(
        "order.opened", "R2",
        f"Order {order.order_id} of {draft.amount(fact.value)} {fact.currency} opened "
        f"with {len(fact.payments)} payment(s) (R2)",
        {"value": fact.value, "payments": len(fact.payments)},
    )  # fmt: skip
    for authorization in fact.payments:
        _add_payment(draft, authorization, later=False)
    _fix_modes(draft)
    _watch_deadlines(draft)
    tell_missing_room(draft)
    draft.unparks = True
    return "applied"


def payment_authorized(draft: Draft, fact: PaymentAuthorized) -> Verdict:
    order, authorization = draft.order, fact.payment
    known = order.payment_contents.get(authorization.payment_id)
    if known is not None:
        if known == content_of(authorization):
            return "duplicate"
        return conflict(f"Payment {authorization.payment_id} is already known with other content")
    if (refusal := _foreign(draft.terms)) is not None:
        return refusal
    if sum(max(payment.authorized, payment.reference) for payment in order.payments) + authorization.most > MAX_MINOR:
        return refused("R9", f"Payment refused: together an order has at most {MAX_MINOR} authorized")
    if sum(payment.cap for payment in order.payments) + authorization.max_value > MAX_SUM:
        return refused("R9", f"Payment refused: the caps of an order sum to at most {MAX_SUM}")
    _add_payment(draft, authorization, later=True)
    draft.tell(
        "payment.added", "R16",
        f"Payment {authorization.payment_id} of {draft.amount(authorization.value)} added (R16)",
        {"value": authorization.value, "paymentId": authorization.payment_id},
    )  # fmt: skip
    _fix_modes(draft)
    _watch_deadlines(draft)
    draft.unparks = True
    return "applied"


def connectors_named(draft: Draft, _fact: ConnectorsNamed) -> Verdict:
    """Decides the mode now that the connectors file names every connector; parked facts may be applied."""
    if not draft.order.awaits_connectors or not _fix_modes(draft):
        return "duplicate"
    draft.unparks = True
    return "applied"


def time_passed(draft: Draft, _fact: TimePassed) -> Verdict:
    return "applied" if _watch_deadlines(draft) else "duplicate"


def _foreign(terms: Terms) -> Refusal | None:
    if not terms.foreign_payments:
        return None
    return conflict(f"Payment {terms.foreign_payments[0]} belongs to another order")


def _add_payment(draft: Draft, authorization: Authorization, later: bool) -> None:
    one, order = authorization, draft.order
    payment = Payment(
        payment_id=one.payment_id, transaction_id=one.transaction_id, authorization_id=one.authorization_id,
        connector=one.connector, authorized=one.value, cap=max(one.value, one.max_value),
        reference=one.reference_value, tid=one.tid, nsu=one.nsu, group=one.group,
        expires_at_ms=one.expires_at_ms, later=later,
        shares=[Share(recipient, recipient.amount, recipient.commission_amount or 0) for recipient in one.recipients],
    )  # fmt: skip
    order.payments.append(payment)
    order.payment_contents[one.payment_id] = content_of(one)
    draft.move(payment, "issuer", "authorized", payment.authorized, "R25")
    draft.move(payment, "issuer", "headroom", payment.cap - payment.authorized, "R25")


def _fix_modes(draft: Draft) -> bool:
    """Fixes the order's mode, once; a later payment of another mode settles once (R2). False: one is unknown."""
    order, terms = draft.order, draft.terms
    undecided = order.undecided
    order.awaits_connectors = any(payment.connector not in terms.capabilities for payment in undecided)
    if order.awaits_connectors:
        return False
    modes = [_mode(terms.capabilities[one.connector], bool(one.shares), terms) for one in undecided]
    if order.mode is None:
        order.mode = modes[0] if len(set(modes)) == 1 else "TOTAL"
    for payment, mode in zip(undecided, modes, strict=True):
        payment.settles_once = order.mode != "PARTIAL" or mode != "PARTIAL"
        payment.decided = True
    return True


def _mode(capability: Capability, splits: bool, terms: Terms) -> Mode:
    """How a payment's connector can be asked to settle for this merchant (R1, R3)."""
    if capability.legacy or not terms.partial_settlement:
        return "TOTAL"
    if capability.mode == "PARTIAL" and splits and not capability.partial_split:
        return "TOTAL"
    return capability.mode


def _watch_deadlines(draft: Draft) -> bool:
    """Warns before authorizations lapse, and lets them lapse; returns whether anything happened (R28)."""
    happened, now = False, draft.terms.now_ms
    for payment in draft.order.payments:
        if payment.lapsed or payment.expires_at_ms is None:
            continue
        if payment.expires_at_ms <= now:
            _lapse(draft, payment)
            happened = True
        elif payment.open and not payment.warned and payment.expires_at_ms - draft.terms.expiry_lead_ms <= now:
            payment.warned = happened = True
            draft.tell(
                "authorization.expiring", "R28",
                f"{draft.amount(payment.open)} of payment {payment.payment_id} is about to lapse (R28)",
                {"open": payment.open, "paymentId": payment.payment_id, "expiresAtMs": payment.expires_at_ms},
                ("payment", payment.payment_id),
            )  # fmt: skip
    return happened


def _lapse(draft: Draft, payment: Payment) -> None:
    amount, lost = payment.open, room_reference(payment)
    draft.move(payment, "authorized", "lapsed", amount, "R28")
    draft.move(payment, "headroom", "lapsed", payment.headroom, "R28")
    payment.lapsed = True
    if amount:
        draft.tell(
            "authorization.lapsed", "R28",
            f"The authorization of payment {payment.payment_id} expired with {draft.amount(amount)} open (R28)",
            {"open": amount, "room": min(lost, MAX_MINOR), "paymentId": payment.payment_id},
            ("payment", payment.payment_id),
        )  # fmt: skip


def next_deadline_ms(order: Order, expiry_lead_ms: int) -> int | None:
    """When the order's next deadline is. Where nothing is open, there is nothing to warn of."""
    deadlines = [
        payment.expires_at_ms - expiry_lead_ms if payment.open and not payment.warned else payment.expires_at_ms
        for payment in order.payments
        if payment.expires_at_ms is not None and not payment.lapsed
    ]
    return min(deadlines, default=None)
