"""The terms under which a fact is decided, stored with it: time, the merchant's switches, what connectors can do."""

from typing import Literal

from msgspec import Struct

Mode = Literal["PARTIAL", "TOTAL", "HOLD"]

HOUR_MS = 3_600_000


class Capability(Struct, frozen=True, array_like=True, gc=False):
    """What the connectors file says of one connector."""

    mode: Mode
    legacy: bool = False
    partial_split: bool = False


class Terms(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    now_ms: int
    partial_settlement: bool = True  # the merchant's switch
    returns: Literal["at_once", "after_invoiced"] = "at_once"
    refund_order: Literal["lowest_first", "card_first"] = "lowest_first"
    expiry_lead_ms: int = 24 * HOUR_MS
    capabilities: dict[str, Capability] = {}  # of the connectors that the fact (or the waiting order) names
    foreign_payments: tuple[str, ...] = ()  # payments named by the fact that belong to another order
    replayed: bool = False  # a person asked to judge a refused fact again
