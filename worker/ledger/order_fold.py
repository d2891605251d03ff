"""Applies one cycle's facts to one order, and gathers what has to be written."""

from collections.abc import Sequence

from msgspec import Struct

from worker.domain.decide import decide
from worker.domain.decision import Decision, Entry, Event, Fate
from worker.domain.facts import Fact
from worker.domain.kept import encode
from worker.domain.order import Command, Order
from worker.domain.terms import Terms
from worker.kafka.records import Origin
from worker.ledger.journal import Journaled
from worker.ledger.waiting import Waiting

# A larger order might not fit into a record. Outcomes are applied even above this: the rest of a record is for them.
ORDER_BYTES_MAX = 2 << 20
# About how many bytes each recipient's share takes in a command.
SHARE_BYTES = 16


class DecidedFact(Struct, frozen=True, gc=False):
    """A fact that changed the order, and what it caused; the fact and its terms are in the JSON that is stored."""

    sequence: int
    fate: Fate
    fact: bytes
    terms: bytes
    at_ms: int
    source: Origin | None
    traceparent: str | None
    items: str | None
    entries: Sequence[Entry]
    commands: Sequence[Command]
    events: Sequence[Event]

    @property
    def is_published(self) -> bool:
        """Whether a message carries it."""
        return bool(self.commands or self.events)


class OrderFullError(Exception):
    """The order has grown so much that it takes no more facts."""


class OrderFold:
    """One order's state during a cycle, and everything that the cycle adds to it."""

    def __init__(
        self, order: Order, home: int, facts: int, unpublished: Sequence[Journaled] = (), size_bytes: int = 0
    ) -> None:
        self.order = order
        self.stored_payments = order.payments
        """As the tables have them: a decision changes copies."""
        self.size_bytes = size_bytes
        """The size of the stored document and of this cycle's facts."""
        self.home = home
        """The order's partition."""
        self.chain = home
        """The partition whose chain its entries join in this cycle; only the owner of a partition writes its chain."""
        self.facts = facts
        self.unpublished = unpublished
        """Facts of earlier cycles that no message has carried yet."""
        self.waiting = Waiting()
        self.command_bytes = 0
        """About how many bytes this cycle's commands of split payments take: each of them names all recipients."""
        self.decided: list[DecidedFact] = []

    @property
    def changed(self) -> bool:
        """Whether anything has to be written."""
        return bool(self.decided) or self.waiting.changed

    @property
    def commands(self) -> list[Command]:
        """The commands of this cycle."""
        return [command for fact in self.decided for command in fact.commands]

    @property
    def events(self) -> list[Event]:
        """The events of this cycle."""
        return [event for fact in self.decided for event in fact.events]

    @property
    def last_published_fact(self) -> int:
        """The sequence of the last fact that a published message carries, of this cycle or an earlier one."""
        before = self.facts - len(self.decided) - len(self.unpublished)
        return max((fact.sequence for fact in self.decided if fact.is_published), default=before)

    def apply(
        self, fact: Fact, terms: Terms, source: Origin | None, traceparent: str | None, *,
        items: str | None = None, bounded: bool = False,
    ) -> Decision:  # fmt: skip
        """Decides one fact and keeps its decision. `bounded`: raises `OrderFullError` if the order is too large."""
        decision = decide(self.order, fact, terms)
        if decision.fate not in ("applied", "refused"):
            return decision
        if bounded and self.size_bytes > ORDER_BYTES_MAX:
            raise OrderFullError(
                f"Order {self.order.order_id} has grown to {self.size_bytes:,} bytes; "
                f"above {ORDER_BYTES_MAX:,} it takes only what becomes of its commands"
            )
        self.order = decision.order
        self.facts += 1
        decided = DecidedFact(
            self.facts, decision.fate, encode(fact), encode(terms), terms.now_ms, source, traceparent, items,
            decision.entries, decision.commands, decision.events,
        )  # fmt: skip
        self.decided.append(decided)
        self.size_bytes += len(decided.fact)
        for command in decision.commands:
            if command.shares:
                self.size_bytes += SHARE_BYTES * len(command.shares)
                self.command_bytes += self.size_bytes
        return decision
