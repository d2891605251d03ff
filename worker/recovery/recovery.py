"""One transaction in which the database takes back everything that the topics know, or nothing.

Nothing is decided: facts are folded in the order, and under the terms, in which they had been applied. Nothing is
sent: what has an outcome is booked, what has none is asked again later by the delivery worker, under its request id.
"""

import time
from collections.abc import AsyncIterator, Mapping, Sequence

import asyncpg

from worker.delivery.handler import DeliveryHandler
from worker.kafka import names, topics
from worker.kafka.looker import Looker
from worker.kafka.records import Place, Record
from worker.kafka.tail import read_between
from worker.ledger.handler import LedgerHandler
from worker.people.replaying import REPLAYED_TOPICS
from worker.postgres.connecting import UNLIMITED, Connection, connect
from worker.postgres.migrations import require_current
from worker.postgres.queries import load
from worker.recovery import dead
from worker.recovery.deliveries import Deliveries
from worker.recovery.errors import RecoveryError
from worker.recovery.facts import Facts
from worker.recovery.forgotten import as_job, not_taken_over, own_places
from worker.recovery.positions import go_on_from
from worker.recovery.summary import Progress, Summary
from worker.settings import Settings
from worker.stream import outbox
from worker.stream.behind import unverified_ranges
from worker.stream.cycle import Cycle
from worker.stream.offsets import advance_positions, note_published, published_offsets, stored_positions

Role = type[LedgerHandler] | type[DeliveryHandler]
ROLES: tuple[Role, ...] = (LedgerHandler, DeliveryHandler)
_SQL = load("worker.recovery")

Range = tuple[int, int]


async def run_recovery(settings: Settings, told: Progress, *, dry_run: bool = False) -> Summary:
    """Everything in one transaction, which `dry_run` rolls back."""
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
        summary = await Recovery(settings, connection, told).run()
        await (transaction.rollback() if dry_run else transaction.commit())
        return summary
    finally:
        connection.terminate()


class Recovery:
    """Call `run` inside a transaction; whoever commits it has a database that is as old as Kafka."""

    def __init__(self, settings: Settings, connection: Connection, told: Progress) -> None:
        self._settings = settings
        self._connection = connection
        self._told = told
        self._partitions = range(settings.topic_partitions)
        self._bounds: dict[Place, Range] = {}
        self._ranges: dict[Place, Range] = {}
        self._published: dict[Place, int] = {}
        self._dead_letter_bytes: Mapping[str, int] = {}
        self._done = 0
        self.summary = Summary()

    async def run(self) -> Summary:
        """Takes back facts, commands, outcomes, decisions and dead letters; afterwards workers may start."""
        await self._take_everything()
        self._dead_letter_bytes = await topics.verify(self._settings)
        self._bounds = await self._look()
        for role in ROLES:
            await self._choose_ranges(role)
        cycle = Cycle(
            self._connection, [], dict.fromkeys(self._partitions, 0), time.time_ns() // 1_000_000, len(self._partitions)
        )
        await self._ledger(cycle)
        await self._delivery(cycle)
        for role in ROLES:
            await self._note_published(role)
        return self.summary

    async def _take_everything(self) -> None:
        """No worker runs, and none takes a partition before we are done."""
        alive = await self._connection.fetch(_SQL["living_members"])
        if alive:
            raise RecoveryError(
                f"a {alive[0]['role']} worker is running ({alive[0]['member_id']}); stop all workers first"
            )
        try:
            await self._connection.execute(_SQL["create_all_partitions"], len(self._partitions))
            for role in ROLES:
                taken = await self._connection.fetch(_SQL[f"take_{role.role}_partitions"])
                if len(taken) != len(self._partitions):
                    raise RecoveryError(
                        f"the database knows {len(taken)} partitions, but TOPIC_PARTITIONS is {len(self._partitions)}"
                    )
        except asyncpg.LockNotAvailableError:
            raise RecoveryError("a worker, or another recovery, is at work; stop all workers first") from None

    async def _look(self) -> dict[Place, Range]:
        """From where to where each topic reaches."""
        everything = (*names.TOPICS, *names.DEAD_LETTER_TOPICS)
        looker = Looker(self._settings, everything)
        await looker.start()
        try:
            return await looker.bounds([(topic, partition) for topic in everything for partition in self._partitions])
        finally:
            await looker.stop()

    async def _choose_ranges(self, role: Role) -> None:
        """What has to be read of everything that this role writes: from what it knows to have published."""
        await self._speak_as(role.role)
        mine = _written_by(role)
        published = await published_offsets(self._connection, mine, self._partitions)
        bounds = {place: bounds for place, bounds in self._bounds.items() if place[0] in mine}
        self._published |= published
        self._ranges |= unverified_ranges(bounds, published)

    async def _choose_unread(self, topics: Sequence[str]) -> None:
        """What has to be read of these: from where the worker whose tables are meant has stopped reading."""
        stored = await stored_positions(self._connection, topics, self._partitions)
        self._ranges |= unverified_ranges(
            {place: bounds for place, bounds in self._bounds.items() if place[0] in topics}, stored
        )

    async def _ledger(self, cycle: Cycle) -> None:
        await self._speak_as("ledger")
        facts = Facts(self._settings, cycle, self.summary)
        for partition in self._partitions:
            async for page in self._read(names.EVENTS, partition):
                await facts.of_events(page)
            await facts.tell_missing_events()
            async for page in self._read(names.COMMANDS, partition):
                await facts.of_commands(page)
            await facts.tell_states()
        await self._number_dead_letters_on()
        for topic in LedgerHandler.topics:
            for partition in self._partitions:
                async for page in self._read(topic + names.DEAD_LETTER_SUFFIX, partition):
                    found = await dead.take_back(
                        self._connection, page, self._settings.topic_prefix, self.summary, "ledger"
                    )
                    await dead.account(self._connection, found, facts.records, facts.next_offsets)
        await facts.account()
        self.summary.warnings += await go_on_from(self._settings, self._connection, self._bounds)

    async def _number_dead_letters_on(self) -> None:
        """Replays name dead letters by numbers of the lost database: no other dead letter may get them."""
        await self._choose_unread(REPLAYED_TOPICS)
        named = 0
        for topic in REPLAYED_TOPICS:
            for partition in self._partitions:
                async for page in self._read(topic, partition):
                    named = max(named, dead.last_replayed(page))
        if named:
            await self._connection.execute(_SQL["number_dead_letters_on"], named)

    async def _delivery(self, cycle: Cycle) -> None:
        await self._speak_as("delivery")
        deliveries = Deliveries(cycle, self.summary)
        for partition in self._partitions:
            async for page in self._read(names.COMMANDS + names.DEAD_LETTER_SUFFIX, partition):
                await dead.take_back(self._connection, page, self._settings.topic_prefix, self.summary, "delivery")
        await self._take_over(cycle, deliveries)
        for partition in self._partitions:
            async for page in self._read(names.OUTCOMES, partition):
                await deliveries.of_outcomes(page)
        await deliveries.finish()

    async def _take_over(self, cycle: Cycle, deliveries: Deliveries) -> None:
        """Every command that Kafka has, and those that it has lost, stand in the schedule."""
        await self._choose_unread((names.COMMANDS,))
        for partition in self._partitions:
            async for page in self._read(names.COMMANDS, partition):
                await deliveries.of_commands(page)
                await outbox.flush(cycle, self._settings.topic_prefix, self._dead_letter_bytes)
        ends = {(names.COMMANDS, partition): self._bounds[names.COMMANDS, partition][1]
                for partition in self._partitions}  # fmt: skip
        await advance_positions(self._connection, ends)
        await self._take_over_forgotten(cycle, deliveries)

    async def _take_over_forgotten(self, cycle: Cycle, deliveries: Deliveries) -> None:
        """What a whole topic does not have it never had: that is published. Else it may have been sent."""
        places = await own_places(self._connection)
        async for command, record in not_taken_over(cycle, self._settings.topic_prefix):
            first, end = self._bounds[record.place]
            if first == 0 and end >= self._published.get(record.place, 0):
                cycle.publish(record)
            else:
                await deliveries.take_over_as(command, await as_job(cycle, record, places))
        await self._speak_as("ledger")
        self.summary["unpublished"] += await outbox.flush(cycle, self._settings.topic_prefix, self._dead_letter_bytes)
        await self._speak_as("delivery")

    async def _note_published(self, role: Role) -> None:
        await self._speak_as(role.role)
        ends = {(topic, partition): self._bounds[topic, partition][1]
                for topic in _written_by(role) for partition in self._partitions}  # fmt: skip
        await note_published(self._connection, ends)

    async def _read(self, topic: str, partition: int) -> AsyncIterator[list[Record]]:
        place = topic, partition
        first, end = self._ranges[place]
        async for page in read_between(self._settings, {place: (first, end)}):
            yield page
            self._tell(page)

    def _tell(self, page: Sequence[Record]) -> None:
        self._done += len(page)
        self._told(self._done, sum(end - first for first, end in self._ranges.values()))

    async def _speak_as(self, role: str) -> None:
        """Whose tables unqualified names mean, until the end of the transaction."""
        await self._connection.execute(f"SET LOCAL search_path TO {role}")


def _written_by(role: Role) -> tuple[str, ...]:
    return (*role.outputs, *(topic + names.DEAD_LETTER_SUFFIX for topic in role.topics))
