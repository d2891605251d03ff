"""The JSON in which orders, facts and the terms that decided them are kept."""

import msgspec

from worker.domain.facts import Fact
from worker.domain.order import Order
from worker.domain.terms import Terms

encode = msgspec.json.Encoder().encode
decode_fact = msgspec.json.Decoder(Fact).decode
decode_terms = msgspec.json.Decoder(Terms).decode
_decode_order = msgspec.json.Decoder(Order).decode


def decode_order(document: bytes) -> Order:
    """The stored order; of one that an older program stored, what that program did not count is counted."""
    order = _decode_order(document)
    if order.lacks and order.mode != "PARTIAL":
        order.given_up = max(order.given_up, sum(lack.amount for lack in order.lacks if lack.kind == "abandoned"))
    return order
