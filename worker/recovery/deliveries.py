"""The delivery worker's part: takes commands over again, and books their outcomes without sending anything."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from msgspec import Struct

from worker.delivery.decisions import update_of, why_not
from worker.delivery.job import Job
from worker.delivery.outcomes import DECIDED, DECISION
from worker.delivery.store import CommandUpdate, OperatorDecision, Store
from worker.delivery.taking import take_over
from worker.domain.kept import decode_order
from worker.domain.order import Command
from worker.kafka.envelope import is_ours, split_id, type_of
from worker.kafka.records import Record
from worker.ledger.reading import read_time
from worker.postgres.queries import load
from worker.postgres.values import columns, moment
from worker.recovery.summary import Summary
from worker.stream.cycle import Cycle

_SQL = load("worker.recovery")
_ACTIONS = {kind: action for action, kind in DECIDED.items()}

Json = Mapping[str, Any]


class Outcome(Struct, frozen=True):
    """What became of a command, as its message has it."""

    number: int
    """How often the command's state had changed."""
    state: str
    data: Json


class DeliveryRecovery:
    """Takes back the commands and outcomes topics. Requires the search_path `delivery`."""

    def __init__(self, cycle: Cycle, summary: Summary) -> None:
        self._cycle = cycle
        self._store = Store(cycle.connection)
        self._summary = summary
        self._last_decision = 0

    async def take_back_commands(self, page: Sequence[Record]) -> None:
        """Adds new commands to the schedule, as the delivery worker would have done."""
        self._summary["commands"] += len(await take_over(self._cycle, self._store, page))

    async def take_over_missing(self, command: Command, job: Job) -> None:
        """Adds a command whose record is gone, in the state that the ledger has booked; an outcome may change it."""
        await self._store.take_over({job.id: job}, self._cycle.now_ms)
        self._summary["forgotten"] += 1
        if command.state != "sent":
            job.state, job.changes, job.done = command.state, 1, command.done
            await self._store.update([CommandUpdate(job, command.operation_id, ended_ms=self._cycle.now_ms)])

    async def take_back_outcomes(self, page: Sequence[Record]) -> None:
        """Books outcomes of commands and decisions of people, in the order of their records."""
        outcomes: dict[str, Outcome] = {}
        for record in page:
            if not is_ours(record) or (id_parts := split_id(record)) is None:
                continue
            subject, number = id_parts
            kind, data = type_of(record).removeprefix("command."), orjson.loads(record.value or b"{}")
            if subject == DECISION:
                await self._book(outcomes)
                outcomes = {}
                await self._decision(number, kind, data)
            elif subject not in outcomes or outcomes[subject].number < number:
                outcomes[subject] = Outcome(number, kind, data)
        await self._book(outcomes)

    async def finish(self) -> None:
        """Marks commands without an outcome as unknown, as they may have been sent, and restores turns and numbers."""
        await self._book_from_ledger()
        uncertain = await self._cycle.connection.fetch(_SQL["make_uncertain"], moment(self._cycle.now_ms))
        self._summary["uncertain"] += len(uncertain)
        await self._cycle.connection.execute(_SQL["give_turns"])
        if self._last_decision:
            await self._cycle.connection.execute(_SQL["number_decisions_on"], self._last_decision)

    async def _book(self, outcomes: Mapping[str, Outcome]) -> None:
        await self._set_outcomes([
            (command_id, one.state, one.number, one.data["value"] or 0, one.data["operationId"], one.data["code"],
             one.data["message"], one.data["attempts"], moment(read_time(one.data["at"])))
            for command_id, one in outcomes.items()
        ])  # fmt: skip

    async def _book_from_ledger(self) -> None:
        """Books outcomes that their topic has lost: a declined command must not be sent again beside its retry."""
        rows: list[tuple[Any, ...]] = []
        now = moment(self._cycle.now_ms)
        async for row in self._cycle.connection.cursor(_SQL["waiting_by_order"]):
            commands = decode_order(row["document"]).commands
            rows += [
                (one.command_id, one.state, _changes(one), one.done, one.operation_id, None, None, 0, now)
                for command_id in row["ids"]
                if (one := commands.get(command_id)) is not None and one.state != "sent"
            ]
        await self._set_outcomes(rows)

    async def _set_outcomes(self, rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            self._summary["outcomes"] += len(await self._cycle.connection.fetch(_SQL["set_outcomes"], *columns(rows)))

    async def _decision(self, number: int, kind: str, data: Json) -> None:
        """Takes a decision back with its effect on the command, unless this database has applied it already."""
        self._last_decision = max(self._last_decision, number)
        if await self._cycle.connection.fetchval(_SQL["applied_decision"], number):
            return
        action, command_id = _ACTIONS[kind], data["commandId"]
        job = (await self._store.commands([command_id])).get(command_id) if command_id else None
        decision = OperatorDecision(
            id=number, action=action, order_id=data["orderId"], command_id=job.id if job else None,
            invoice_number=data["invoiceNumber"], settle_id=data["settleId"],
            value=data["value"] if action == "resolve" else None, operation_id=data["operationId"], by=data["by"],
            reason=data["reason"], at_ms=read_time(data["at"]), changes=job.changes if job else None,
        )  # fmt: skip
        await self._cycle.connection.execute(
            _SQL["take_back_decision"], number, action, self._cycle.partition_of(decision.order_id),
            decision.order_id, decision.command_id, decision.invoice_number, decision.settle_id, decision.changes,
            decision.value, decision.operation_id, decision.by, decision.reason, moment(decision.at_ms),
        )  # fmt: skip
        self._summary["decisions"] += 1
        if job is not None and why_not(job, decision) is None:
            await self._apply(job, decision)

    async def _apply(self, job: Job, decision: OperatorDecision) -> None:
        """Changes the command as decided, and closes its dead letter, unless a newer one exists."""
        if not await self._cycle.connection.fetchval(_SQL["died_since"], *job.record.origin, moment(decision.at_ms)):
            await self._store.close_dead_letters([(job, decision)])
        if (update := update_of(job, decision, self._cycle.now_ms)) is not None:
            await self._store.update([update])


def _changes(command: Command) -> int:
    """How many outcomes and decisions the ledger has booked for this command."""
    return max(1, len(command.marks) + (not command.in_flight and not command.by_hand))
