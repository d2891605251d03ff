"""Where the ledger goes on reading: where the backup had stopped, as far as the topics still reach back."""

from typing import Any

from worker.kafka import names
from worker.kafka.source import Place
from worker.kafka.topics import committed_offsets
from worker.ledger.handler import LedgerHandler
from worker.postgres.queries import load
from worker.recovery.errors import RecoveryError
from worker.settings import Settings
from worker.stream.transaction import place_columns

_STREAM = load("worker.stream")


async def go_on_from(
    settings: Settings, connection: Any, role: type[LedgerHandler], bounds: dict[Place, tuple[int, int]]
) -> None:
    """What retention has deleted since the backup need not be read again, if it was read before it was deleted.

    The lost database told Kafka how far it had read: what lies before that had its fate, and left it on the topics.
    """
    rows = await connection.fetch(_STREAM["read_positions"], list(role.topics), list(range(settings.topic_partitions)))
    gone = {
        (row["topic"], row["partition"]): bounds[row["topic"], row["partition"]][0]
        for row in rows
        if row["next_offset"] < bounds[row["topic"], row["partition"]][0]
    }
    if not gone:
        return
    committed = await committed_offsets(settings, names.group(role.role))
    for (topic, partition), first in gone.items():
        if committed.get((topic, partition), 0) < first:
            raise RecoveryError(
                f"{settings.topic(topic)} partition {partition} begins at offset {first}, and nobody has read all "
                "before it: its sender must publish again what was deleted unread; to go on without it, set the stored "
                f"position to {first} by hand"
            )
    await connection.execute(_STREAM["advance_positions"], *place_columns(gone))
