"""Ownership of partitions: membership by lease and database session, fair shares, burial of dead members."""

import asyncio
import contextlib
import json
import random
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta

import asyncpg

from worker import telemetry
from worker.cancelled import end, failure_of, not_by_us
from worker.postgres.connecting import SESSION_LOST, Connection, connect
from worker.postgres.queries import load
from worker.stream.clock import lease_time
from worker.stream.control import Control
from worker.stream.cycle import TakenPartition
from worker.stream.faults import FencedError

LEASE_SECONDS = 5.0
BEAT_SECONDS = 1.0
# A beat ends with the lease; one that begins late, after the process stalled, has at least this time to renew it.
STALLED_BEAT_SECONDS_MAX = 2.5
# Our own count of the lease ends a little before the database's.
LEASE_MARGIN_SECONDS = 0.25
# How long a failed worker tries to leave the members; if it cannot, the others see its lease or its session end.
LEAVE_SECONDS_MAX = 2.0

_SQL = load("worker.stream")

# Each session is a member of its own: a process may bury what it was itself before its database went away.
_own_member_ids: deque[str] = deque(maxlen=100)


class Ownership:
    """One member. It has a database session of its own, so that a long cycle does not cost the lease."""

    def __init__(self, role: str, control: Control, beats_end: Callable[[], None] = lambda: None) -> None:
        """`beats_end` is called once the lease is no longer renewed, whatever the reason."""
        self._role = role
        self._partitions = control.settings.topic_partitions
        self._control = control
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._beats_end = beats_end
        self._changed = asyncio.Event()
        self._busy = asyncio.Lock()
        self._held: set[int] = set()
        self.member_id = f"{socket.gethostname()[:20]}-{secrets.token_hex(6)}"
        _own_member_ids.append(self.member_id)
        self.claimed: dict[int, TakenPartition] = {}
        """Our partitions that the session has not taken over yet, or has set aside; the session takes them out."""
        self.surplus: frozenset[int] = frozenset()
        """Partitions above our fair share, for the session to hand over."""
        self.alone_since: float | None = None
        """Since when there is no other member, so that nobody else can write outbox rows for our partitions."""
        self.accepting = True
        """Whether free partitions are claimed; false once the worker stops."""

    @property
    def session_name(self) -> str:
        """The application_name of all our database sessions: whoever buries this member ends them by it."""
        return f"settlement-{self._role} {self.member_id}"

    @property
    def failure(self) -> BaseException | None:
        """The error that ended the beats; None while they go on."""
        return failure_of(self._task)

    async def join(self) -> None:
        """Becomes a member, claims free partitions up to its share, and begins to renew the lease."""
        self._connection = await connect(self._control.settings.database, name=self.session_name, schema=self._role)
        began = lease_time()
        await self._connection.execute(
            _SQL["register_member"], self.member_id, socket.gethostname(), timedelta(seconds=LEASE_SECONDS)
        )
        self._leased_since(began)
        count = await self._connection.fetchval(_SQL["count_partitions"])
        if count not in (0, self._partitions):
            raise WrongPartitionsError(count, self._partitions)
        await self._connection.execute(_SQL["create_partitions"], self._partitions)
        await self._connection.add_listener(self._channel, lambda *_: self._changed.set())
        async with self._busy:
            await self._beat()
            await self._notify_members()
        self._task = asyncio.create_task(self._beats(), name="ownership")
        self._task.add_done_callback(lambda _: self._beats_end())

    async def release(self, partitions: frozenset[int]) -> None:
        """Frees these partitions, after everything of them was flushed."""
        async with self._busy:
            await self._execute("release_partitions", self.member_id, sorted(partitions))
            self._held -= partitions
            self.surplus = frozenset()
            await self._notify_members()

    async def leave(self) -> None:
        """Ends the membership, and frees partitions that were not released as lost."""
        await self._stop()
        if self._connection is not None:
            async with self._connection.transaction():
                await self._free(await self._connection.fetchval(_SQL["leave"], self.member_id), self.member_id)
            await self._notify_members()
            await self._connection.close()

    async def abandon(self) -> None:
        """Leaves at once; if the database does not answer, the others see this session end."""
        await self._stop()
        if self._connection is not None and not self._connection.is_closed():
            with contextlib.suppress(*SESSION_LOST):
                async with asyncio.timeout(LEAVE_SECONDS_MAX):
                    await self.leave()
            self._connection.terminate()

    @property
    def _channel(self) -> str:
        return f"settlement_{self._role}_members"

    async def _beats(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT_SECONDS):
                    await self._changed.wait()
            self._changed.clear()
            try:
                async with asyncio.timeout(max(self._control.lease_seconds(), STALLED_BEAT_SECONDS_MAX)), self._busy:
                    with not_by_us():
                        await self._beat()
            except TimeoutError:
                self._session.terminate()  # `release` may wait for its answer too
                raise

    async def _beat(self) -> None:
        connection = self._session
        began = lease_time()
        alerts = json.dumps(telemetry.lasting_alerts())
        lease = timedelta(seconds=LEASE_SECONDS)
        if await connection.fetchval(_SQL["renew_lease"], self.member_id, lease, alerts) is None:
            raise FencedError("this member was declared dead")
        self._leased_since(began)
        members = await connection.fetch(_SQL["look_at_members"])
        await self._bury_dead([row["member_id"] for row in members if row["dead"]])
        living = [row["member_id"] for row in members if not row["dead"] or row["member_id"] == self.member_id]
        self.alone_since = (self.alone_since or began) if len(members) == 1 else None
        await self._balance(fair_share(self._partitions, living, self.member_id))

    async def _balance(self, share: int) -> None:
        if len(self._held) < share and self.accepting:
            await self._claim(share - len(self._held))
        elif len(self._held) > share and not self.surplus:
            self.surplus = frozenset(sorted(self._held)[share:])
            self._control.changed.set()
        if self.accepting and not self.surplus:
            await self._verify_held()

    async def _verify_held(self) -> None:
        """Raises if the database says that we own other partitions than we hold: a person may have changed a row."""
        rows = await self._session.fetch(_SQL["look_at_partitions"])
        owned = {row["partition"] for row in rows if row["owner"] == self.member_id}
        if owned != self._held:
            raise FencedError(f"partitions {sorted(owned ^ self._held)} changed hands without us")

    async def _claim(self, number: int) -> None:
        connection = self._session
        async with connection.transaction():
            if await connection.fetchval(_SQL["lock_member"], self.member_id) is None:
                raise FencedError("this member was declared dead")
            rows = await connection.fetch(
                _SQL["claim_partitions"], self.member_id, number, timedelta(seconds=LEASE_SECONDS)
            )
        now_ms = time.time_ns() // 1_000_000
        for row in rows:
            rest = row["former_lease_rest"]
            former = None if rest is None else now_ms + round(rest.total_seconds() * 1000)
            self.claimed[row["partition"]] = TakenPartition(row["epoch"], former)
            self._held.add(row["partition"])
        if rows:
            self._control.changed.set()

    async def _bury_dead(self, member_ids: list[str]) -> None:
        """Buries as many as the time between two beats allows, in random order: no blocked one may hide another."""
        until = time.monotonic() + BEAT_SECONDS
        for member_id in random.sample(member_ids, len(member_ids)):
            if member_id != self.member_id and time.monotonic() < until:
                await self._bury(member_id)

    async def _bury(self, member_id: str) -> None:
        """Ends a dead member's sessions, and frees its partitions."""
        connection = self._session
        try:
            async with connection.transaction():
                await connection.execute(_SQL["wait_briefly_for_locks"])
                lease_until = await connection.fetchval(_SQL["bury_member"], member_id)
                if lease_until is None:
                    return
                with contextlib.suppress(asyncpg.InsufficientPrivilegeError):
                    async with connection.transaction():
                        await connection.fetch(_SQL["end_sessions"], f"settlement-{self._role} {member_id}")
                await self._free(lease_until, member_id)
        except asyncpg.LockNotAvailableError:
            telemetry.log.warning("a dead worker's transaction still holds its partitions", member=member_id)
            return
        whose = "this worker's former session" if member_id in _own_member_ids else "a dead worker"
        telemetry.log.info(f"took {whose} off the list", member=member_id)

    async def _free(self, lease_until: datetime | None, member_id: str) -> None:
        if lease_until is not None:
            await self._execute("free_lost_partitions", member_id, lease_until)

    async def _notify_members(self) -> None:
        await self._session.execute("SELECT pg_notify($1, '')", self._channel)

    async def _execute(self, query: str, *arguments: object) -> None:
        await self._session.execute(_SQL[query], *arguments)

    async def _stop(self) -> None:
        if self._task is not None:
            task, self._task = self._task, None
            await end([task])
        self._control.lease_ends = 0.0

    def _leased_since(self, began: float) -> None:
        self._control.lease_ends = began + LEASE_SECONDS - LEASE_MARGIN_SECONDS

    @property
    def _session(self) -> Connection:
        if self._connection is None:
            raise RuntimeError("join comes first")
        return self._connection


class WrongPartitionsError(Exception):
    """TOPIC_PARTITIONS is not the number of partitions in the database."""

    def __init__(self, found: int, wanted: int) -> None:
        super().__init__(
            f"the database knows {found} partitions, but TOPIC_PARTITIONS is {wanted}: "
            "it cannot change once a worker has run"
        )


def fair_share(partitions: int, living: list[str], member_id: str) -> int:
    """Returns a member's number of partitions: the same for all; the oldest members get one more for a remainder."""
    each, rest = divmod(partitions, len(living))
    return each + (living.index(member_id) < rest)
