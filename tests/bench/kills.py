"""PostgreSQL and the broker are killed while the ledger worker is busy: how long it stands, and how fast it goes on."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from aiokafka.errors import KafkaError
from msgspec import Struct

from tests.bench import load, page, picture
from tests.bench.deployment import PARTITIONS, STALLED_SECONDS, Deployment, deployment
from tests.bench.ledger import opened
from tests.bench.rounds import Figure
from tests.striking import strike
from worker.kafka import names
from worker.stack import StackEnv, down, up

KILLED = {"postgres": "PostgreSQL", "kafka": "Kafka broker"}
# After commands flow; the broker's virtual machine begins uncompiled, and compiles on the cores we work on.
WARM_SECONDS = {"postgres": 4.0, "kafka": 20.0}
FIRST_SECONDS, WINDOW_SECONDS = 4.0, 16.0
PARCELS = 2
LOOK_SECONDS = 0.25

Points = list[tuple[float, int]]
Span = tuple[int, int]
"""From so many commands written to so many."""


class Kill(Struct):
    """What one kill did to a worker's rate, and how the rate of one that nobody disturbs changed between the same
    invoices: it changes by itself while the tables grow and the database cleans up."""

    before: float
    after: float
    alone_before: float
    alone_after: float
    silent_seconds: float


class Run(Struct):
    """One worker over the whole backlog."""

    points: Points
    """Seconds, and commands written so far."""
    before: Span
    after: dict[str, Span]
    silent_seconds: dict[str, float]

    def rate(self, span: Span) -> float:
        """How fast the invoices between these two were done."""
        first, last = (next(at for at, done in self.points if done >= number) for number in span)
        return (span[1] - span[0]) / (last - first)


class Found(Struct):
    kills: dict[str, list[Kill]]
    points: Points
    """Of the last round's worker whose servers were killed."""
    invoices: int


async def run(rounds: int, backlog: int) -> Found:
    """Twice per round, undisturbed and with kills, in turn the first, each with a stack of its own."""
    kills: dict[str, list[Kill]] = {service: [] for service in KILLED}
    points: Points = []
    for number in range(rounds):
        both = {service: await _on_a_stack_of_its_own(backlog, service)
                for service in ((), tuple(KILLED))[:: -1 if number % 2 else 1]}  # fmt: skip
        alone, struck = both[()], both[tuple(KILLED)]
        points = struck.points
        for service, span in struck.after.items():
            kills[service].append(Kill(
                struck.rate(struck.before), struck.rate(span), alone.rate(struck.before), alone.rate(span),
                struck.silent_seconds[service],
            ))  # fmt: skip
        told = ", ".join(f"{service} {_of_before(found).values[-1]:.2f}" for service, found in kills.items())
        print(f"  round {number + 1}, rate after a kill of the one before it: {told}", flush=True)
    return Found(kills, points, backlog)


async def _on_a_stack_of_its_own(backlog: int, killed: Iterable[str]) -> Run:
    with TemporaryDirectory(prefix="bench-") as folder:
        home = Path(folder) / "home"
        try:
            return await _run(home, up(home), backlog, killed)
        finally:
            down(home)


async def _run(home: Path, stack: StackEnv, backlog: int, killed: Iterable[str]) -> Run:
    async with deployment(stack) as here:
        ids = await opened(here, backlog // PARCELS)
        sent = await here.send(load.invoices(ids, range(PARCELS), PARTITIONS))
        points: Points = []
        here.start("worker", "ledger")
        await _moves(here, points, 0)
        found = Run(points, await _span(here, points, FIRST_SECONDS), {}, {})
        for service in killed:
            stood, at = points[-1][1], time.monotonic()
            await strike(home, service, signal.SIGKILL)
            await asyncio.to_thread(up, home)
            await _moves(here, points, stood)
            found.silent_seconds[service] = time.monotonic() - at
            found.after[service] = await _span(here, points, WARM_SECONDS[service])
        if points[-1][1] >= sent:
            raise SystemExit(f"{sent} invoices are too few: all were done before the last rate was seen: --backlog")
        while points[-1][1] < sent:
            await _moves(here, points, points[-1][1])
        await _everything_once(here, sent)
        return found


async def _span(here: Deployment, points: Points, warm_seconds: float) -> Span:
    """What is done in a window that begins in so many seconds."""
    await _look(here, points, warm_seconds)
    first = points[-1][1]
    await _look(here, points, WINDOW_SECONDS)
    return first, points[-1][1]


async def _look(here: Deployment, points: Points, seconds: float = 0.0) -> None:
    """How many commands are written, for so long, as often as the broker answers; once at least."""
    until = time.monotonic() + seconds
    while True:
        with contextlib.suppress(TimeoutError, KafkaError):  # it was killed: the picture has a gap there
            async with asyncio.timeout(LOOK_SECONDS * 4):
                points.append((time.monotonic(), await here.written(names.COMMANDS)))
        here.look_after()
        await asyncio.sleep(LOOK_SECONDS)
        if time.monotonic() >= until:
            return


async def _moves(here: Deployment, points: Points, beyond: int) -> None:
    """More commands than so many are written."""
    async with asyncio.timeout(STALLED_SECONDS):
        while not points or points[-1][1] <= beyond:
            await _look(here, points)


async def _everything_once(here: Deployment, sent: int) -> None:
    """Each invoice has its command in the books, once; on the topic some stand twice after a kill."""
    await here.reconnect()
    await here.until_consumed(names.INVOICES, sent)
    found = await here.database.fetchrow(
        "SELECT (SELECT count(*) FROM ledger.commands) AS commands, "
        "(SELECT sum(amount) FROM ledger.entries WHERE credit = 'settling') AS asked"
    )
    if (found["commands"], found["asked"]) != (sent, sent * load.PARCEL):
        raise SystemExit(f"after the kills the books say {dict(found)} of {sent} invoices of {load.PARCEL}")


def _of_before(kills: list[Kill]) -> Figure:
    """The rate after a kill of the one before it, where the rate of an undisturbed worker is level."""
    return Figure([one.after / one.before / (one.alone_after / one.alone_before) for one in kills])


def section(found: Found) -> page.Section:
    rows = []
    for service, kills in found.kills.items():
        ratio, silent = _of_before(kills), Figure([one.silent_seconds for one in kills])
        rows.append((
            KILLED[service],
            Figure([one.before for one in kills]), Figure([one.after for one in kills]),
            Figure([one.alone_before for one in kills]), Figure([one.alone_after for one in kills]),
            f"**{ratio.median:.2f}** ({ratio.low:.2f}–{ratio.high:.2f})",
            f"{silent.median:.1f} s (at most {silent.high:.1f} s)",
        ))  # fmt: skip
    head = ("killed with SIGKILL, started again", "invoices/s before", "invoices/s after", "undisturbed, then",
            "undisturbed, later", "after of before", "until commands flow again")  # fmt: skip
    postgres, kafka = WARM_SECONDS.values()
    text = (
        f"{page.table(head, rows)}\n\nEach rate over {WINDOW_SECONDS:.0f} s, {postgres:.0f} s after commands flowed "
        f"again, {kafka:.0f} s where the broker had died, whose virtual machine has to compile everything anew on the "
        f"same cores; both servers killed in every round, from a backlog of {found.invoices:,} invoices. Undisturbed "
        "is another worker of the same round, with its own stack, between the same invoices: the rate changes by "
        "itself while the tables grow and the database cleans up. *After of before* is held against that change. "
        "Afterwards the books hold each invoice's command once."
    )
    start = found.points[0][0]
    rates = [(after[0] - start, (after[1] - before[1]) / (after[0] - before[0]))
             for before, after in pairwise(found.points[::2]) if after[0] > before[0]]  # fmt: skip
    shown = picture.lines("PostgreSQL, then the broker killed under load", "commands/s", "seconds", {"commands": rates})
    return page.Section("kills", text, "make bench-kills", {"kills": shown})
