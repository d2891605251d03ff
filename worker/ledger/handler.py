"""The ledger worker: what the stream calls in each cycle."""

from collections.abc import Collection, Mapping

from worker import metrics
from worker.kafka import names
from worker.kafka.records import Place
from worker.ledger.connectors import ORDERS_COUNTED_MAX, Connectors
from worker.ledger.cycle import LedgerCycle
from worker.ledger.due_orders import DueOrders
from worker.ledger.known import first_unknown
from worker.ledger.tally import MisplacedWarning
from worker.postgres.connecting import Connection
from worker.postgres.queries import load
from worker.stream.control import Control
from worker.stream.cycle import Cycle, TakenPartition

_SQL = load("worker.ledger")


class LedgerHandler:
    """Consumes invoices, changes and outcomes. Between cycles it keeps only offsets and when to look for due orders."""

    role = "ledger"
    topics = names.READ["ledger"]
    outputs = (names.COMMANDS, names.EVENTS, names.ORDERS)
    unknown = staticmethod(first_unknown)

    def __init__(self, control: Control) -> None:
        self._control = control
        self._connectors = Connectors(control.settings)
        self._due_orders = DueOrders()
        self._next_offsets: dict[Place, int] = {}
        self._misplaced = MisplacedWarning()
        self._under_way: LedgerCycle | None = None
        """The last cycle, until it is committed."""

    async def taken(self, connection: Connection, taken: Mapping[int, TakenPartition]) -> None:
        """The orders of these partitions have to be looked at; connectors that they wait for are named at once."""
        self._due_orders.look_at_once()
        for row in await connection.fetch(_SQL["read_consumed"], list(taken)):
            self._next_offsets[row["topic"], row["partition"]] = row["next_offset"]
        rows = await connection.fetch(_SQL["awaited_connectors"], list(taken), ORDERS_COUNTED_MAX)
        self._connectors.alert_of((row["name"], order_id) for row in rows for order_id in row["orders"])

    async def release(self, partitions: frozenset[int]) -> None:
        """Does nothing: between two cycles nothing is in flight."""

    def dropped(self) -> None:
        self._due_orders.look_at_once()
        self._next_offsets = {}
        self._under_way = None

    def reload(self) -> None:
        """SIGHUP: the connectors file may name what orders wait for."""
        if self._connectors.reload():
            self._due_orders.look_at_once()
            if self._under_way is not None:
                self._under_way.tally.named_look_ms = None  # what is being looked up follows the former file
            self._control.wake()

    def clock_set_back(self, _: float) -> None:
        """Looks again at once, and tries again what the database had refused."""
        self._due_orders = DueOrders()

    def next_due_ms(self) -> int | None:
        return self._due_orders.next_look_ms

    async def handle(self, cycle: Cycle) -> None:
        """Decides every record of the cycle, and writes all of it at once."""
        under_way = self._under_way = LedgerCycle(cycle, self._connectors, self._control.settings, self._next_offsets)
        if cycle.now_ms >= self._due_orders.next_look_ms:
            await self._due_orders.decide_due(under_way)
        await under_way.decide_records()

    async def committed(self, cycle: Cycle) -> None:
        """Reports what is durable now to the metrics, and raises alerts."""
        durable, self._under_way = self._under_way, None
        if durable is None or durable.cycle is not cycle:
            return  # nothing was decided in this cycle; the cycle that did decide was rolled back
        tally = durable.tally
        self._due_orders.committed(tally)
        for place, offset in tally.next_offsets.items():
            self._next_offsets[place] = max(offset, self._next_offsets.get(place, 0))
        tally.report(cycle)
        self._connectors.alert_of(tally.waiting_for_connectors)
        self._misplaced.count(tally.misplaced)

    async def measure(self, connection: Connection, partitions: Collection[int]) -> None:
        """Counts the facts that wait, by what for."""
        rows = await connection.fetch(_SQL["count_parked"], list(partitions))
        metrics.parked_facts.clear()
        for row in rows:
            metrics.parked_facts.labels(waits_for=row["waits_for"]).set(row["number"])

    async def close(self) -> None:
        """Does nothing: nothing is held open."""
