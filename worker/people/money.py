"""Where the money of an order is, and what moves it, in words."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

# The parts of an authorization, from what is done to what is left → what they are called.
PARTS = {
    "settled": "settled", "settling": "settling", "refunding": "being refunded", "refunded": "refunded",
    "voiding": "being voided", "voided": "voided", "lapsed": "lapsed", "open": "open",
}  # fmt: skip
# Debited and credited account → what the transfer means.
MEANINGS = {
    ("issuer", "authorized"): "the issuer promised it",
    ("issuer", "headroom"): "may be captured above what was authorized",
    ("authorized", "settling"): "asked to be captured",
    ("headroom", "settling"): "asked to be captured, above what was authorized",
    ("settling", "settled"): "captured",
    ("settling", "authorized"): "not captured, free again",
    ("settling", "headroom"): "not captured, free again",
    ("settling", "lapsed"): "not captured, and the authorization lapsed",
    ("authorized", "settled"): "captured by the gateway itself",
    ("headroom", "settled"): "captured by the gateway itself",
    ("lapsed", "settled"): "captured by the gateway itself, though the authorization lapsed",
    ("settled", "authorized"): "counted before as the gateway's own capture",
    ("settled", "headroom"): "counted before as the gateway's own capture",
    ("settled", "lapsed"): "counted before as the gateway's own capture",
    ("authorized", "voiding"): "asked to be freed",
    ("voiding", "voided"): "freed: the shopper's limit is back",
    ("voiding", "authorized"): "not freed",
    ("voiding", "headroom"): "not freed",
    ("voiding", "lapsed"): "not freed, and the authorization lapsed",
    ("authorized", "voided"): "counted as freed; the connector is not told of the part",
    ("voided", "authorized"): "no longer counted as freed: the connector was never told",
    ("voided", "headroom"): "no longer counted as freed: the connector was never told",
    ("voided", "lapsed"): "no longer counted as freed: the connector was never told",
    ("settled", "refunding"): "asked to be refunded",
    ("refunding", "refunded"): "refunded",
    ("refunding", "settled"): "not refunded",
    ("settled", "refunded"): "refunded, beyond what was asked",
    ("authorized", "lapsed"): "the authorization ended",
    ("headroom", "lapsed"): "the authorization ended",
}


def authorization_parts(payments: Iterable[dict[str, Any]]) -> Counter[str]:
    """What became of all that these payments had authorized, by the names of `PARTS`.

    What was captured and then refunded counts as refunded only.
    """
    parts = Counter[str]()
    for payment in payments:
        used = sum(payment[name] for name in ("settled", "settling", "voided", "voiding"))
        parts.update(
            {name: payment[name] for name in ("settling", "refunding", "refunded", "voiding", "voided", "open")},
            settled=payment["settled"] - payment["refunding"] - payment["refunded"],
            lapsed=max(0, payment["authorized"] - used) if payment["lapsed"] else 0,
        )
    return parts
