"""Faust's tables as the live view needs them: typed values, a fixed partition per key, changes written in batches.

Faust itself uses the partition of the current event, which in a batch may be another order's; it sends each change
separately; and it acknowledges events before Kafka has acknowledged their changes.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Container, Iterable, Mapping
from types import SimpleNamespace
from typing import Any, TypeVar

import faust
import msgspec
from faust.exceptions import ProducerSendError
from faust.serializers import codecs

from worker import telemetry
from worker.kafka.murmur2 import partition_of
from worker.kafka.refusals import describe_kafka_error, refusal

REFUSED_PAUSE_SECONDS = 1.0
ITEMS_PER_PAUSE = 200

T = TypeVar("T")

# Key → its present value; None where it was deleted.
Changes = Mapping[Any, Any]


class _Codec(codecs.Codec):
    """Encodes a table's values as JSON."""

    def __init__(self, type_: type) -> None:
        super().__init__()
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(type_).decode

    def _dumps(self, s: Any) -> bytes:
        return msgspec.json.encode(s)

    def _loads(self, s: bytes) -> Any:
        return self._decode(s)


class Model:
    """Makes a struct usable as a Faust table's `value_type`: `class RowModel(Model, of=Row)`."""

    _options: SimpleNamespace

    def __init_subclass__(cls, *, of: type) -> None:
        cls._options = SimpleNamespace(serializer=_Codec(of))

    @classmethod
    def from_data(cls, data: Any, *, preferred_type: Any = None) -> Any:  # noqa: ARG003 - the signature is Faust's
        """Returns `data` as it is: the codec has decoded it already."""
        return data


class BulkTable(faust.Table[Any, Any]):
    """A table that collects the keys that changed, for its owner to write to Kafka in one batch."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._changed: set[Any] = set()
        self.refusal: str | None = None
        """Why Kafka refuses our writes, to follow the word Kafka in a sentence; None: it accepts them."""

    def partition_for_key(self, key: Any) -> int:
        """The partition of the order's records."""
        name = key[0] if isinstance(key, tuple) else key.decode()
        return partition_of(name, self.partitions)

    def on_key_set(self, key: Any, value: Any) -> None:  # noqa: ARG002 - the signature is Faust's
        """Only notes the key, where Faust would send the change at once."""
        self._changed.add(key)
        self._maybe_set_key_ttl(key, self.partition_for_key(key))

    def on_key_del(self, key: Any) -> None:
        self._changed.add(key)
        self._maybe_del_key_ttl(key, self.partition_for_key(key))

    def keep_only(self, partitions: Container[int]) -> None:
        """Forgets the keys of all other partitions: Faust forgets only those that it has read from the changelog.

        A change to one of them is not written any more, and least of all as its deletion: it is another view's key now.
        """
        for key in [key for key in {*self.data, *self._changed} if self.partition_for_key(key) not in partitions]:
            self.data.pop(key, None)
            self._changed.discard(key)

    def take_changes(self) -> Changes:
        """Returns what changed since the last call."""
        changed, self._changed = self._changed, set()
        return {key: self.data.get(key) for key in changed}

    async def write(self, changes: Changes) -> None:
        """Sends all changes, those that fail again and again, and returns when Kafka has acknowledged each."""
        while changes:
            failed = await self._send_all(changes)
            if failed:
                problem = next(iter(failed.values()))
                telemetry.log.warning(
                    "Kafka refused a write of the view; it is sent again", problem=describe_kafka_error(problem)
                )
                self.refusal = refusal(problem)
                await asyncio.sleep(REFUSED_PAUSE_SECONDS)
            else:
                self.refusal = None
            changes = {key: changes[key] for key in failed}

    async def _send_all(self, changes: Changes) -> Mapping[Any, BaseException]:
        """Sends the changes, waits for the acknowledgements, and returns the errors of those that failed."""
        sent: dict[Any, asyncio.Future[Any]] = {}
        try:
            async for key in with_pauses(changes):
                sent[key] = await self._send(key, changes[key])
        except ProducerSendError as problem:
            return dict.fromkeys(changes, problem)
        await asyncio.wait(sent.values())
        return {key: error for key, future in sent.items() if (error := _error_of(future)) is not None}

    async def _send(self, key: Any, value: Any) -> "asyncio.Future[Any]":
        topic: Any = self.changelog_topic
        serializer = "raw" if value is None else self.value_serializer
        written: Any = await self.app.producer.send(
            topic.get_topic_name(), topic.prepare_key(key, self.key_serializer)[0],
            topic.prepare_value(value, serializer)[0], self.partition_for_key(key), None, None,
        )  # fmt: skip
        future: asyncio.Future[Any] = written
        return future


def _error_of(sent: "asyncio.Future[Any]") -> BaseException | None:
    """None if Kafka acknowledged the write; a write that was cancelled counts as failed."""
    return asyncio.CancelledError() if sent.cancelled() else sent.exception()


async def with_pauses(items: Iterable[T]) -> AsyncIterator[T]:
    """Yields the items, and lets the event loop answer pages after every `ITEMS_PER_PAUSE` of them."""
    for number, item in enumerate(items, 1):
        yield item
        if number % ITEMS_PER_PAUSE == 0:
            await asyncio.sleep(0)
