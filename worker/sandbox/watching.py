"""Reads the output topics of a deployment, as any dashboard would, and keeps what a summary needs."""

import contextlib
from collections import Counter
from dataclasses import dataclass, field

import msgspec
import orjson
from msgspec import Struct

from worker.kafka import names
from worker.kafka.envelope import Event, read
from worker.kafka.records import Record
from worker.kafka.source import Source
from worker.settings import Settings

_RECORDS_MAX, _BYTES_MAX = 4_000, 16 << 20


class _Issued(Struct, rename="camel"):
    order_id: str
    invoice_number: str


@dataclass(slots=True)
class Seen:
    """What was seen so far: the last state of each order, and when each invoice was published and captured."""

    orders: dict[str, dict[str, object]] = field(default_factory=dict)
    published_ms: dict[tuple[str, str], int] = field(default_factory=dict)
    captured_ms: dict[tuple[str, str], int] = field(default_factory=dict)
    events: Counter[str] = field(default_factory=Counter)
    counted: set[tuple[str, int]] = field(default_factory=set)

    def take(self, record: Record) -> None:
        """A repeat changes nothing: events are known by order and sequence, states by their version."""
        if record.topic == names.INVOICES:
            self._take_invoice(record)
            return
        data = orjson.loads(record.value or b"{}")
        if record.topic == names.ORDERS:
            known = self.orders.get(data["orderId"])
            if known is None or int(str(known["version"])) < data["version"]:
                self.orders[data["orderId"]] = data
        elif (place := (data["orderId"], data["sequence"])) not in self.counted:
            self.counted.add(place)
            self.events[data["type"]] += 1
            if data["type"] == "settlement.confirmed" and data["cause"]["kind"] == "invoice":
                self.captured_ms.setdefault((data["orderId"], data["cause"]["id"]), record.timestamp_ms)

    def _take_invoice(self, record: Record) -> None:
        """Anybody may write to that topic: what names no invoice is passed over."""
        if isinstance(event := read(record), Event):
            with contextlib.suppress(msgspec.DecodeError):
                issued = msgspec.json.decode(event.data, type=_Issued)
                self.published_ms.setdefault((issued.order_id, issued.invoice_number), record.timestamp_ms)

    def waits_ms(self) -> list[int]:
        """From invoice written to capture confirmed, for each captured invoice, sorted."""
        both = self.captured_ms.keys() & self.published_ms.keys()
        return sorted(self.captured_ms[place] - self.published_ms[place] for place in both)


class Watcher:
    """Follows the output topics from their beginning, without a group."""

    def __init__(self, settings: Settings) -> None:
        self.seen = Seen()
        self._settings = settings
        self._topics = (names.ORDERS, names.EVENTS, names.INVOICES)
        self._source = Source(settings, "watch", self._topics, lambda: None)

    async def start(self) -> None:
        """Reads from here on, until `stop`."""
        await self._source.start()
        partitions = range(self._settings.topic_partitions)
        places = [(topic, partition) for topic in self._topics for partition in partitions]
        first = await self._source.looker.bounds(places)
        await self._source.assign({place: first[place][0] for place in places})

    def poll(self) -> Seen:
        """What was seen, with everything that has arrived."""
        while self._source.waiting():
            for record in self._source.take(_RECORDS_MAX, _BYTES_MAX):
                self.seen.take(record)
        return self.seen

    async def stop(self) -> None:
        """Ends the reading."""
        await self._source.stop()
