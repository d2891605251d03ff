"""Answers every command at once with a successful outcome, without HTTP and without a ledger."""

import asyncio

import orjson
import uvloop

from tests.bench.load import outcome
from worker.kafka import envelope, names
from worker.kafka.packing import pack
from worker.kafka.records import Outgoing
from worker.kafka.sink import Sink
from worker.kafka.source import Source
from worker.settings import load

STEP_RECORDS = 5_000


async def main() -> None:
    settings = load()
    arrived = asyncio.Event()
    source = Source(settings, "answering", (names.COMMANDS,), arrived.set)
    sink = Sink(settings)
    await source.start()
    await sink.start()
    await source.assign({(names.COMMANDS, partition): 0 for partition in range(settings.topic_partitions)})
    while True:
        arrived.clear()
        if not (records := source.take(STEP_RECORDS, 1 << 30)):
            await arrived.wait()
            continue
        answers = []
        for record in records:
            result = outcome(orjson.loads(record.value or b""))
            headers = envelope.binary_headers("command.succeeded", result["operationId"], result["at"])
            answers.append(Outgoing(names.OUTCOMES, record.partition, record.key, orjson.dumps(result), headers))
        await sink.queue(pack(answers))


if __name__ == "__main__":
    uvloop.run(main())
