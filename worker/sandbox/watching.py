"""Reads the output topics of a deployment, as a dashboard would, and keeps what a summary needs."""

import contextlib
from collections import Counter
from dataclasses import dataclass, field

import msgspec
import orjson
from msgspec import Struct

from worker.kafka import names
from worker.kafka.envelope import Event, read_event
from worker.kafka.records import Record
from worker.kafka.source import Source
from worker.settings import Settings

_RECORDS_MAX, _BYTES_MAX = 4_000, 16 << 20


class _Issued(Struct, rename="camel"):
    order_id: str
    invoice_number: str


@dataclass(slots=True)
class Observed:
    """What the topics contained so far: each order's latest state, and when each invoice was published and captured."""

    orders: dict[str, dict[str, object]] = field(default_factory=dict)
    published_ms: dict[tuple[str, str], int] = field(default_factory=dict)
    captured_ms: dict[tuple[str, str], int] = field(default_factory=dict)
    events: Counter[str] = field(default_factory=Counter)
    counted: set[tuple[str, int]] = field(default_factory=set)  # order id and sequence of each event in `events`

    def add(self, record: Record) -> None:
        """Adds a record; a repeated one changes nothing, since events have a sequence and states a version."""
        if record.topic == names.INVOICES:
            self._add_invoice(record)
            return
        data = orjson.loads(record.value or b"{}")
        if record.topic == names.ORDERS:
            previous = self.orders.get(data["orderId"])
            if previous is None or int(str(previous["version"])) < data["version"]:
                self.orders[data["orderId"]] = data
        elif (event_id := (data["orderId"], data["sequence"])) not in self.counted:
            self.counted.add(event_id)
            self.events[data["type"]] += 1
            if data["type"] == "settlement.confirmed" and data["cause"]["kind"] == "invoice":
                self.captured_ms.setdefault((data["orderId"], data["cause"]["id"]), record.timestamp_ms)

    def _add_invoice(self, record: Record) -> None:
        """Ignores a record that is not an invoice: any program may write to that topic."""
        if isinstance(event := read_event(record), Event):
            with contextlib.suppress(msgspec.DecodeError):
                issued = msgspec.json.decode(event.data, type=_Issued)
                self.published_ms.setdefault((issued.order_id, issued.invoice_number), record.timestamp_ms)

    def waits_ms(self) -> list[int]:
        """The times from invoice written to capture confirmed, one for each captured invoice, sorted."""
        invoices = self.captured_ms.keys() & self.published_ms.keys()
        return sorted(self.captured_ms[invoice] - self.published_ms[invoice] for invoice in invoices)


class Watcher:
    """Reads the output topics from their beginning, without a consumer group."""

    def __init__(self, settings: Settings) -> None:
        self.observed = Observed()
        self._settings = settings
        self._topics = (names.ORDERS, names.EVENTS, names.INVOICES)
        self._source = Source(settings, "watch", self._topics, lambda: None)

    async def start(self) -> None:
        """Starts reading, until `stop`."""
        await self._source.start()
        partitions = range(self._settings.topic_partitions)
        places = [(topic, partition) for topic in self._topics for partition in partitions]
        first = await self._source.inspector.bounds(places)
        await self._source.assign({place: first[place][0] for place in places})

    def poll(self) -> Observed:
        """Adds the records that have arrived, and returns everything observed so far."""
        while self._source.has_records():
            for record in self._source.take(_RECORDS_MAX, _BYTES_MAX):
                self.observed.add(record)
        return self.observed

    async def stop(self) -> None:
        await self._source.stop()
