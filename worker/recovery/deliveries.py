"""The delivery worker's part: commands are taken over again, and what became of them is booked without sending."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from worker.delivery.decisions import update_of, why_not
from worker.delivery.job import Job
from worker.delivery.outcomes import DECIDED, DECISION
from worker.delivery.store import CommandUpdate, OperatorDecision, Store
from worker.delivery.taking import take_over
from worker.domain.kept import decode_order
from worker.domain.order import Command
from worker.kafka.envelope import is_ours, kind_of, numbered
from worker.kafka.records import Record
from worker.ledger.reading import read_time
from worker.postgres.queries import load
from worker.postgres.values import columns, moment
from worker.recovery.summary import Summary
from worker.stream.cycle import Cycle

_SQL = load("worker.recovery")
_ACTIONS = {kind: action for action, kind in DECIDED.items()}

Json = Mapping[str, Any]


class Deliveries:
    """Takes back what the commands and outcomes topics tell. Call with search_path `delivery`."""

    def __init__(self, cycle: Cycle, summary: Summary) -> None:
        self._cycle = cycle
        self._store = Store(cycle.connection)
        self._summary = summary
        self._last_decision = 0

    async def of_commands(self, page: Sequence[Record]) -> None:
        """New commands join the schedule, as the delivery worker would have taken them over."""
        self._summary["commands"] += len(await take_over(self._cycle, self._store, page))

    async def take_over_as(self, command: Command, job: Job) -> None:
        """One whose record is gone; what became of it is what the ledger has booked, until an outcome says more."""
        await self._store.take_over([job], self._cycle.now_ms)
        self._summary["forgotten"] += 1
        if command.state != "sent":
            job.state, job.changes = command.state, 1
            at_ms = self._cycle.now_ms
            await self._store.update([CommandUpdate(job, command.done, command.operation_id, ended_ms=at_ms)])

    async def of_outcomes(self, page: Sequence[Record]) -> None:
        """Ends of commands and decisions of people, in the order in which they were told."""
        ends: dict[str, tuple[int, str, Json]] = {}
        for record in page:
            if not is_ours(record) or (told := numbered(record)) is None:
                continue
            of, number = told
            kind, data = kind_of(record).removeprefix("command."), orjson.loads(record.value or b"{}")
            if of == DECISION:
                await self._book(ends)
                ends = {}
                await self._decision(number, kind, data)
            elif of not in ends or ends[of][0] < number:
                ends[of] = number, kind, data
        await self._book(ends)

    async def finish(self) -> None:
        """Whatever has no outcome may have been sent; new decisions get numbers of their own."""
        await self._book_as_the_ledger_did()
        uncertain = await self._cycle.connection.fetch(_SQL["make_uncertain"], moment(self._cycle.now_ms))
        self._summary["uncertain"] += len(uncertain)
        await self._cycle.connection.execute(_SQL["give_turns"])
        if self._last_decision:
            await self._cycle.connection.execute(_SQL["number_decisions_on"], self._last_decision)

    async def _book(self, ends: Mapping[str, tuple[int, str, Json]]) -> None:
        if not ends:
            return
        rows = [
            (command_id, kind, number, data["value"] or 0, data["operationId"], data["code"], data["message"],
             data["attempts"], _at(data))
            for command_id, (number, kind, data) in ends.items()
        ]  # fmt: skip
        self._summary["outcomes"] += len(await self._cycle.connection.fetch(_SQL["set_outcomes"], *columns(rows)))

    async def _book_as_the_ledger_did(self) -> None:
        """Ends whose outcomes are gone from their topic: what was declined might be done beside its retry."""
        rows = []
        async for row in self._cycle.connection.cursor(_SQL["waiting_by_order"]):
            commands = decode_order(row["document"]).commands
            for command in (commands[one] for one in row["ids"] if one in commands and commands[one].state != "sent"):
                known = command.command_id, command.state, _changes(command), command.done, command.operation_id
                rows.append((*known, None, None, 0, moment(self._cycle.now_ms)))
        if rows:
            self._summary["outcomes"] += len(await self._cycle.connection.fetch(_SQL["set_outcomes"], *columns(rows)))

    async def _decision(self, number: int, kind: str, data: Json) -> None:
        """What a person decided, and what it did to the command; a decision that is known as applied did it before."""
        self._last_decision = max(self._last_decision, number)
        if await self._cycle.connection.fetchval(_SQL["applied_decision"], number):
            return
        action, command_id = _ACTIONS[kind], data["commandId"]
        found = await self._store.command(command_id) if command_id else None
        one = OperatorDecision(
            id=number, action=action, order_id=data["orderId"], command_id=command_id if found else None,
            invoice_number=data["invoiceNumber"], settle_id=data["settleId"],
            value=data["value"] if action == "resolve" else None, operation_id=data["operationId"], by=data["by"],
            reason=data["reason"], at_ms=read_time(data["at"]), changes=found[0].changes if found else None,
        )  # fmt: skip
        await self._cycle.connection.execute(
            _SQL["take_back_decision"], number, action, self._cycle.partition_of(one.order_id), one.order_id,
            one.command_id, one.invoice_number, one.settle_id, one.changes, one.value, one.operation_id, one.by,
            one.reason, moment(one.at_ms),
        )  # fmt: skip
        self._summary["decisions"] += 1
        if found is not None and why_not(*found, one) is None:
            await self._apply(*found, one)

    async def _apply(self, job: Job, done: int, decision: OperatorDecision) -> None:
        """What it did to the command, and to its dead letter, unless the command has died again since."""
        if not await self._cycle.connection.fetchval(_SQL["died_since"], *job.record.origin, moment(decision.at_ms)):
            await self._store.close_dead_letter(job, decision)
        if (update := update_of(job, done, decision, self._cycle.now_ms)) is not None:
            await self._store.update([update])


def _changes(command: Command) -> int:
    """How often the ledger was told something of it."""
    return max(1, len(command.marks) + (not command.in_flight and not command.by_hand))


def _at(data: Json) -> datetime:
    return moment(read_time(data["at"]))
