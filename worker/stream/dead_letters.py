"""Dead letters of a cycle: each is a row of the table, and a record of its topic's dead letters."""

from collections.abc import Mapping
from typing import Any

from worker.kafka.dead_letters import dead_letter, printable
from worker.postgres.queries import load
from worker.postgres.values import moment
from worker.stream.cycle import Cycle
from worker.stream.stored_records import encode_headers

_SQL = load("worker.stream")


async def write_dead_letters(cycle: Cycle, prefix: str, bytes_max: Mapping[str, int]) -> None:
    """Inserts and publishes all dead letters of the cycle. `bytes_max`: topic → its largest dead letter."""
    rows: list[tuple[Any, ...]] = []
    for dead in cycle.dead:
        record = dead.record
        out, reason = dead_letter(record, dead.reason, dead.message, prefix, bytes_max[record.topic])
        cycle.publish(out)
        rows.append((
            *record.origin, dead.order_id, dead.merchant, reason, printable(dead.message), record.key, record.value,
            encode_headers(record.headers), moment(record.timestamp_ms), moment(cycle.now_ms),
        ))  # fmt: skip
    if rows:
        await cycle.connection.executemany(_SQL["write_dead_letter"], rows)
