"""Takes everything that the topics have back into the database, in one transaction.

It decides nothing: facts are folded in the order, and under the terms, in which they had been applied. It sends
nothing: outcomes are booked, and the delivery worker later sends commands without one again, under their request ids.
"""

import time
from collections.abc import AsyncIterator, Mapping, Sequence

import asyncpg

from worker.delivery.handler import DeliveryHandler
from worker.kafka import names, topics
from worker.kafka.log_inspector import LogInspector
from worker.kafka.range_reader import read_between
from worker.kafka.records import Place, Record
from worker.ledger.handler import LedgerHandler
from worker.people.dead_letters import REPLAYED_TOPICS
from worker.postgres.connecting import UNLIMITED, Connection, connect
from worker.postgres.migrations import require_current
from worker.postgres.queries import load
from worker.recovery import dead_letters
from worker.recovery.deliveries import DeliveryRecovery
from worker.recovery.errors import RecoveryError
from worker.recovery.facts import FactRecovery
from worker.recovery.missing_commands import as_job, not_taken_over, unused_offsets
from worker.recovery.positions import go_on_from
from worker.recovery.summary import Progress, Summary
from worker.settings import Settings
from worker.stream import outbox
from worker.stream.behind import unverified_ranges
from worker.stream.cycle import Cycle
from worker.stream.dead_letters import write_dead_letters
from worker.stream.offsets import advance_positions, note_published, published_offsets, stored_offsets

Role = type[LedgerHandler] | type[DeliveryHandler]
ROLES: tuple[Role, ...] = (LedgerHandler, DeliveryHandler)
_SQL = load("worker.recovery")
_STREAM_SQL = load("worker.stream")

Range = tuple[int, int]


async def run_recovery(settings: Settings, progress: Progress, *, dry_run: bool = False) -> Summary:
    """Recovers in one transaction, which `dry_run` rolls back."""
    connection = await connect(
        settings.database,
        name="settlement-recover",
        statement_timeout=UNLIMITED,
        idle_in_transaction_session_timeout=UNLIMITED,
    )
    try:
        await require_current(connection)
        transaction = connection.transaction()
        await transaction.start()
        summary = await Recovery(settings, connection, progress).run()
        await (transaction.rollback() if dry_run else transaction.commit())
        return summary
    finally:
        connection.terminate()


class Recovery:
    """`run` must be called inside a transaction; its commit brings the database up to date with Kafka."""

    def __init__(self, settings: Settings, connection: Connection, progress: Progress) -> None:
        self._settings = settings
        self._connection = connection
        self._progress = progress
        self._partitions = range(settings.topic_partitions)
        self._bounds: dict[Place, Range] = {}
        self._ranges: dict[Place, Range] = {}
        self._published: dict[Place, int] = {}
        self._dead_letter_bytes: Mapping[str, int] = {}
        self._done = 0
        self.summary = Summary()

    async def run(self) -> Summary:
        """Takes back facts, commands, outcomes, decisions and dead letters; afterwards workers may start."""
        await self._lock_everything()
        self._dead_letter_bytes = await topics.verify(self._settings)
        self._bounds = await self._topic_bounds()
        for role in ROLES:
            await self._read_outputs_from(role)
        cycle = Cycle(
            self._connection, [], dict.fromkeys(self._partitions, 0), time.time_ns() // 1_000_000, len(self._partitions)
        )
        await self._ledger(cycle)
        await self._delivery(cycle)
        for role in ROLES:
            await self._note_published(role)
        return self.summary

    async def _lock_everything(self) -> None:
        """Locks all partitions, so that no worker takes one before the transaction ends."""
        try:
            for role in ROLES:
                await self._use_schema(role.role)
                await self._lock_partitions(role)
        except asyncpg.LockNotAvailableError:
            raise RecoveryError(
                "a worker or another recovery is using this database: stop all workers first, then recover again"
            ) from None

    async def _lock_partitions(self, role: Role) -> None:
        """Also creates those that no worker has used yet."""
        for member in await self._connection.fetch(_STREAM_SQL["look_at_members"]):
            if not member["dead"]:
                raise RecoveryError(
                    f"a {role.role} worker is running ({member['member_id']}): stop all workers first, then recover "
                    "again"
                )
        await self._connection.execute(_STREAM_SQL["create_partitions"], len(self._partitions))
        taken = await self._connection.fetch(_SQL["take_partitions"])
        if len(taken) != len(self._partitions):
            raise RecoveryError(
                f"the database has {len(taken)} partitions, but TOPIC_PARTITIONS is {len(self._partitions)}: "
                "set it to the number of partitions of this deployment"
            )

    async def _topic_bounds(self) -> dict[Place, Range]:
        """The first offset and the end of every partition of our topics."""
        everything = (*names.TOPICS, *names.DEAD_LETTER_TOPICS)
        inspector = LogInspector(self._settings, everything)
        await inspector.start()
        try:
            return await inspector.bounds(
                [(topic, partition) for topic in everything for partition in self._partitions]
            )
        finally:
            await inspector.stop()

    async def _read_outputs_from(self, role: Role) -> None:
        """Output topics of this role are read from where its tables know what it has published."""
        await self._use_schema(role.role)
        mine = _written_by(role)
        published = await published_offsets(self._connection, mine, self._partitions)
        bounds = {place: bounds for place, bounds in self._bounds.items() if place[0] in mine}
        self._published |= published
        self._ranges |= unverified_ranges(bounds, published)

    async def _read_inputs_from(self, topics: Sequence[str]) -> None:
        """These topics are read from the positions in the tables of the present search_path."""
        stored = await stored_offsets(self._connection, topics, self._partitions)
        self._ranges |= unverified_ranges(
            {place: bounds for place, bounds in self._bounds.items() if place[0] in topics}, stored
        )

    async def _ledger(self, cycle: Cycle) -> None:
        await self._use_schema("ledger")
        facts = FactRecovery(self._settings, cycle, self.summary)
        for partition in self._partitions:
            async for page in self._read(names.EVENTS, partition):
                await facts.take_back_events(page)
            await facts.publish_missing_events()
            async for page in self._read(names.COMMANDS, partition):
                await facts.take_back_commands(page)
            await facts.publish_states()
        await self._reserve_dead_letter_numbers()
        async for page in self._read_all(*_dead_letters_of(LedgerHandler)):
            found = await dead_letters.take_back(
                self._connection, page, self._settings.topic_prefix, self.summary, "ledger"
            )
            await dead_letters.account(self._connection, found, facts.records, facts.next_offsets)
        await facts.account()
        self.summary.warnings += await go_on_from(self._settings, self._connection, self._bounds)

    async def _reserve_dead_letter_numbers(self) -> None:
        """New dead letters must not get the numbers that replays use for those of the lost database."""
        await self._read_inputs_from(REPLAYED_TOPICS)
        last = 0
        async for page in self._read_all(*REPLAYED_TOPICS):
            last = max(last, dead_letters.last_replayed(page))
        if last:
            await self._connection.execute(_SQL["number_dead_letters_on"], last)

    async def _delivery(self, cycle: Cycle) -> None:
        await self._use_schema("delivery")
        deliveries = DeliveryRecovery(cycle, self.summary)
        async for page in self._read_all(*_dead_letters_of(DeliveryHandler)):
            await dead_letters.take_back(self._connection, page, self._settings.topic_prefix, self.summary, "delivery")
        await self._take_over(cycle, deliveries)
        async for page in self._read_all(names.OUTCOMES):
            await deliveries.take_back_outcomes(page)
        await deliveries.finish()

    async def _take_over(self, cycle: Cycle, deliveries: DeliveryRecovery) -> None:
        """Adds every command to the schedule that Kafka has, or that it has lost."""
        await self._read_inputs_from((names.COMMANDS,))
        async for page in self._read_all(names.COMMANDS):
            await deliveries.take_back_commands(page)
            await write_dead_letters(cycle, self._settings.topic_prefix, self._dead_letter_bytes)
            await outbox.flush(cycle)
        ends = {(names.COMMANDS, partition): self._bounds[names.COMMANDS, partition][1]
                for partition in self._partitions}  # fmt: skip
        await advance_positions(self._connection, ends)
        await self._take_over_missing(cycle, deliveries)

    async def _take_over_missing(self, cycle: Cycle, deliveries: DeliveryRecovery) -> None:
        """Publishes a command that its topic, complete from offset 0, never had; any other may have been sent."""
        offsets = await unused_offsets(self._connection)
        async for command, record in not_taken_over(cycle, self._settings.topic_prefix):
            first, end = self._bounds[record.place]
            if first == 0 and end >= self._published.get(record.place, 0):
                cycle.publish(record)
            else:
                await deliveries.take_over_missing(command, await as_job(cycle, record, offsets))
        await self._use_schema("ledger")
        self.summary["unpublished"] += await outbox.flush(cycle)
        await self._use_schema("delivery")

    async def _note_published(self, role: Role) -> None:
        await self._use_schema(role.role)
        ends = {(topic, partition): self._bounds[topic, partition][1]
                for topic in _written_by(role) for partition in self._partitions}  # fmt: skip
        await note_published(self._connection, ends)

    async def _read_all(self, *topics: str) -> AsyncIterator[list[Record]]:
        """Every partition of these topics, one after another."""
        for topic in topics:
            for partition in self._partitions:
                async for page in self._read(topic, partition):
                    yield page

    async def _read(self, topic: str, partition: int) -> AsyncIterator[list[Record]]:
        place = topic, partition
        first, end = self._ranges[place]
        async for page in read_between(self._settings, {place: (first, end)}):
            yield page
            self._report_progress(page)

    def _report_progress(self, page: Sequence[Record]) -> None:
        self._done += len(page)
        self._progress(self._done, sum(end - first for first, end in self._ranges.values()))

    async def _use_schema(self, role: str) -> None:
        """Sets the search_path until the end of the transaction."""
        await self._connection.execute(f"SET LOCAL search_path TO {role}")


def _written_by(role: Role) -> tuple[str, ...]:
    return (*role.outputs, *_dead_letters_of(role))


def _dead_letters_of(role: Role) -> tuple[str, ...]:
    return tuple(topic + names.DEAD_LETTER_SUFFIX for topic in role.topics)
