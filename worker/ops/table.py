"""Faust's tables as the live view needs them: typed values, one home for each key, changes that are written in bulk.

Faust takes the partition of the current event, which of a batch may be any; it sends every change by itself; and it
acknowledges events whose changes Kafka has not taken yet.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
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
TURN = 200

T = TypeVar("T")

# Key → what it is now; None where it is gone.
Changes = Mapping[Any, Any]


class _Codec(codecs.Codec):
    """Values as their changelog keeps them."""

    def __init__(self, type_: type) -> None:
        super().__init__()
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(type_).decode

    def _dumps(self, s: Any) -> bytes:
        return msgspec.json.encode(s)

    def _loads(self, s: bytes) -> Any:
        return self._decode(s)


class Model:
    """What Faust asks of the type of a table's values; a subclass says which."""

    _options: SimpleNamespace

    def __init_subclass__(cls, *, of: type) -> None:
        cls._options = SimpleNamespace(serializer=_Codec(of))

    @classmethod
    def from_data(cls, data: Any, *, preferred_type: Any = None) -> Any:  # noqa: ARG003 - the signature is Faust's
        """The codec has made a value of it already."""
        return data


class HomeTable(faust.Table[Any, Any]):
    """A table that remembers which keys changed, until somebody has Kafka keep them."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._changed: set[Any] = set()
        self.refusal: str | None = None
        """What Kafka has against our writes, as the end of a sentence; None: nothing."""

    def partition_for_key(self, key: Any) -> int:
        """An order's row lies where its records lie."""
        name = key[0] if isinstance(key, tuple) else key.decode()
        return partition_of(name, self.partitions)

    def on_key_set(self, key: Any, value: Any) -> None:  # noqa: ARG002 - the signature is Faust's
        """It is written with the others, once."""
        self._changed.add(key)
        self._maybe_set_key_ttl(key, self.partition_for_key(key))

    def on_key_del(self, key: Any) -> None:
        """So is its end."""
        self._changed.add(key)
        self._maybe_del_key_ttl(key, self.partition_for_key(key))

    def changes(self) -> Changes:
        """What changed since the last call."""
        changed, self._changed = self._changed, set()
        return {key: self.data.get(key) for key in changed}

    async def keep(self, changes: Changes) -> None:
        """Returns when Kafka has them. They are all sent at once; what it refuses is sent again."""
        while changes:
            refused = await self._refused(changes)
            if refused:
                why = next(iter(refused.values()))
                telemetry.log.warning(
                    "Kafka refused a write of the view; it is sent again", problem=describe_kafka_error(why)
                )
                self.refusal = refusal(why)
                await asyncio.sleep(REFUSED_PAUSE_SECONDS)
            else:
                self.refusal = None
            changes = {key: changes[key] for key in refused}

    async def _refused(self, changes: Changes) -> Mapping[Any, BaseException]:
        """Sends them all; those that Kafka did not take, and why."""
        sent: dict[Any, asyncio.Future[Any]] = {}
        try:
            async for key in in_turns(changes):
                sent[key] = await self._send(key, changes[key])
        except ProducerSendError as problem:
            return dict.fromkeys(changes, problem)
        await asyncio.wait(sent.values())
        return {key: why for key, one in sent.items() if (why := _refusal(one)) is not None}

    async def _send(self, key: Any, value: Any) -> "asyncio.Future[Any]":
        topic: Any = self.changelog_topic
        serializer = "raw" if value is None else self.value_serializer
        written: Any = await self.app.producer.send(
            topic.get_topic_name(), topic.prepare_key(key, self.key_serializer)[0],
            topic.prepare_value(value, serializer)[0], self.partition_for_key(key), None, None,
        )  # fmt: skip
        future: asyncio.Future[Any] = written
        return future


def _refusal(sent: "asyncio.Future[Any]") -> BaseException | None:
    """A write that was given up is none."""
    return asyncio.CancelledError() if sent.cancelled() else sent.exception()


async def in_turns(many: Iterable[T]) -> AsyncIterator[T]:
    """Goes through many things, letting pages be answered in between."""
    for number, one in enumerate(many, 1):
        yield one
        if number % TURN == 0:
            await asyncio.sleep(0)
