"""Dead letters: find them, and look at one."""

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta, Struct, structs

from worker.kafka import names
from worker.kafka.dead_letters import ReasonCode, replay_of
from worker.kafka.records import Record
from worker.people.acting import NAME_CHARACTERS_MAX, NotFoundError
from worker.people.undecided import undecided
from worker.postgres.connecting import Connection
from worker.postgres.queries import load
from worker.stream.stored_records import stored_record

Status = Literal["open", "replayed", "discarded"]
Topic = Literal["erp.invoices.v1", "erp.order-changes.v1", "settlement.commands.v1", "settlement.outcomes.v1"]
TOPICS: tuple[Topic, ...] = get_args(Topic)
CODES: tuple[ReasonCode, ...] = get_args(ReasonCode)
# All others are commands or outcomes: of these a person decides (R39).
REPLAYED_TOPICS = (names.INVOICES, names.ORDER_CHANGES)
ID_MAX = 2**63 - 1

_SQL = load("worker.people")

Json = dict[str, Any]


class Filter(Struct, frozen=True, kw_only=True):
    """Which dead letters are meant; topics without prefix. None: whatever it is."""

    status: Status | None = "open"
    topic: str | None = None
    reason: str | None = None
    merchant: str | None = None
    order_id: str | None = None
    since: datetime | None = None
    before: datetime | None = None

    def arguments(self) -> tuple[Any, ...]:
        """In the order of the queries' parameters."""
        return self.status, self.topic, self.reason, self.merchant, self.order_id, self.since, self.before


# A filter, or the numbers that a person gave.
Wanted = Filter | Sequence[int]


class _NamesCommand(Struct, rename="camel"):
    command_id: Annotated[str, Meta(max_length=NAME_CHARACTERS_MAX)]


class ListedDeadLetter(Struct, frozen=True, kw_only=True):
    """A dead letter as a list shows it."""

    id: int
    topic: str
    partition: int
    offset: int
    order_id: str | None
    merchant: str | None
    reason: ReasonCode
    message: str
    status: Status
    dead_at: datetime
    decided_by: str | None
    decided_reason: str | None
    decided_at: datetime | None
    returned_at: datetime | None
    bytes: int | None


class DeadLetter(Struct, frozen=True, kw_only=True):
    """One dead letter with its record, byte for byte as it came."""

    id: int
    record: Record
    order_id: str | None
    merchant: str | None
    reason: ReasonCode
    message: str
    status: Status
    dead_at: datetime
    decided_by: str | None
    decided_reason: str | None
    decided_at: datetime | None
    returned: tuple[int, int] | None
    """Partition and offset at which its replay was read."""

    @property
    def replay_of(self) -> int | None:
        """The dead letter whose replay this one is, if it is one."""
        return replay_of(self.record)

    @property
    def is_replayable(self) -> bool:
        return self.record.topic in REPLAYED_TOPICS

    @property
    def command_id(self) -> str | None:
        """The command that it is, or whose outcome it is."""
        if self.is_replayable:
            return None
        try:
            return msgspec.json.decode(self.record.value or b"", type=_NamesCommand).command_id
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def how_to_decide(self) -> str:
        """What to type for a command or an outcome: it is neither replayed nor, while it waits, discarded."""
        if (command := self.command_id) is None:
            return "`settlement commands list` shows what needs a person"
        match self.reason:
            case "declined":
                return f"`settlement commands retry {command}` asks again, `… abandon {command}` gives it up"
            case "manual":
                return f"`settlement commands resolve {command}` says what was done by hand"
            case "suspect" | "unknown_outcome":
                return f"`settlement commands resolve {command}` says what was done, `… retry {command}` asks again"
            case _:
                return f"`settlement commands show {command}` shows where it stands"


class DeadLetterPage(Struct, frozen=True):
    """One dead letter, what people did about it, and what became of its replay."""

    letter: DeadLetter
    acts: list[Json]
    became: str | None
    """One sentence, or None: it was not published again."""
    is_undecided: bool
    """Whether a person still decides about its command, and so cannot discard it."""

    def as_json(self) -> Json:
        """For programs: bytes as text where they are UTF-8, else as base64."""
        record = self.letter.record
        fields = structs.asdict(self.letter)
        del fields["record"], fields["returned"]
        return {
            **fields, "replay_of": self.letter.replay_of, "topic": record.topic, "partition": record.partition,
            "offset": record.offset, "timestamp_ms": record.timestamp_ms, "key": _bytes(record.key),
            "value": _bytes(record.value), "headers": [[name, _bytes(content)] for name, content in record.headers],
            "acts": [act | {"sent": _bytes(act["sent"])} for act in self.acts], "became": self.became,
        }  # fmt: skip


async def find(connection: Connection, wanted: Filter, limit: int) -> tuple[list[ListedDeadLetter], bool]:
    """The latest dead letters that match, and whether there are more."""
    rows = await connection.fetch(_SQL["list_dead_letters"], *wanted.arguments(), limit + 1)
    return [ListedDeadLetter(**row) for row in rows[:limit]], len(rows) > limit


async def count_open(connection: Connection) -> dict[ReasonCode, int]:
    """How many are open, by reason, the most frequent first."""
    return {row["reason"]: row["open"] for row in await connection.fetch(_SQL["count_dead_letters"])}


async def find_open(connection: Connection, wanted: Filter) -> list[tuple[int, str, ReasonCode]]:
    """Id, topic and reason of all that match and are open now, oldest first."""
    rows = await connection.fetch(_SQL["pick_dead_letters"], *structs.replace(wanted, status="open").arguments())
    return [(row["id"], row["topic"], row["reason"]) for row in rows]


async def read(connection: Connection, ids: Sequence[int]) -> list[DeadLetter]:
    """The dead letters with these ids; `NotFoundError` if one does not exist."""
    rows = await connection.fetch(_SQL["read_dead_letters"], [one for one in ids if 0 < one <= ID_MAX])
    if missing := set(ids).difference(row["id"] for row in rows):
        raise NotFoundError(f"no dead letter {min(missing)} is known; `settlement dlq list` shows those that are open")
    return [_letter(row) for row in rows]


async def read_page(connection: Connection, dead_letter: int) -> DeadLetterPage:
    """One dead letter, what people did about it, and what became of its replay."""
    [letter] = await read(connection, [dead_letter])
    acts = [dict(one) for one in await connection.fetch(_SQL["acts_on_dead_letter"], dead_letter)]
    became = await _fate_of_replay(connection, letter)
    return DeadLetterPage(letter, acts, became, bool(await undecided(connection, [dead_letter])))


async def _fate_of_replay(connection: Connection, letter: DeadLetter) -> str | None:
    if letter.returned is None:
        waits = letter.status == "replayed" and letter.record.topic != names.COMMANDS
        return "It is published again; the ledger worker has not read it yet." if waits else None
    row = await connection.fetchrow(_SQL["became_of_replay"], letter.record.topic, *letter.returned)
    assert row is not None
    if row["dead_letter"] is not None:
        return f"It was judged again and refused again: dead letter {row['dead_letter']}."
    if row["fact"] is not None:
        return f"It was judged again and {row['fact']}."
    return "It waits for its order." if row["parked"] else "It was judged again: a duplicate, nothing happened."


def _letter(row: Any) -> DeadLetter:
    returned = (row["returned_partition"], row["returned_offset"]) if row["returned_at"] else None
    return DeadLetter(
        id=row["id"], record=stored_record(row), order_id=row["order_id"], merchant=row["merchant"],
        reason=row["reason"], message=row["message"], status=row["status"], dead_at=row["dead_at"],
        decided_by=row["decided_by"], decided_reason=row["decided_reason"], decided_at=row["decided_at"],
        returned=returned,
    )  # fmt: skip


def _bytes(content: bytes | None) -> str | Json | None:
    if content is None:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}
