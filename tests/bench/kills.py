"""PostgreSQL and the broker are killed while the ledger worker is busy: how long it stands, and how fast it goes on."""

import asyncio
import contextlib
import signal
import time
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

NOBODY = "nobody"
NAMES = {"postgres": "PostgreSQL", "kafka": "Kafka broker", NOBODY: "nobody, to compare"}
# Between two kills nobody is, and the rate is seen again: it changes by itself.
IN_TURN = (NOBODY, "postgres", NOBODY, "kafka", NOBODY)
# After commands flow; the broker's virtual machine begins uncompiled, and compiles on the cores we work on.
WARM_SECONDS = {"postgres": 4.0, "kafka": 20.0, NOBODY: 4.0}
WINDOW_SECONDS = 8.0
PARCELS = 2
LOOK_SECONDS = 0.25

Points = list[tuple[float, int]]


class Kill(Struct):
    """The rate right before and right after."""

    before: float
    after: float
    silent_seconds: float


class Found(Struct):
    kills: dict[str, list[Kill]]
    points: Points
    """Of the last round: seconds, and commands written so far."""
    invoices: int


async def run(rounds: int, backlog: int) -> Found:
    """One worker per round, with a stack of its own."""
    kills: dict[str, list[Kill]] = {killed: [] for killed in NAMES}
    points: Points = []
    for number in range(rounds):
        with TemporaryDirectory(prefix="bench-") as folder:
            home = Path(folder) / "home"
            try:
                points, found = await _round(home, up(home), backlog)
            finally:
                down(home)
        for killed, one in found:
            kills[killed].append(one)
        told = ", ".join(f"{killed} {one.after / one.before:.2f}" for killed, one in found)
        print(f"  round {number + 1}, rate after of before: {told}", flush=True)
    return Found(kills, points, backlog)


async def _round(home: Path, stack: StackEnv, backlog: int) -> tuple[Points, list[tuple[str, Kill]]]:
    async with deployment(stack) as here:
        ids = await opened(here, backlog // PARCELS)
        sent = await here.send(load.invoices(ids, range(PARCELS), PARTITIONS))
        points: Points = []
        here.start("worker", "ledger")
        await _moves(here, points, 0)
        before = await _rate(here, points, WARM_SECONDS[NOBODY])
        found: list[tuple[str, Kill]] = []
        for killed in IN_TURN:
            stood, at = points[-1][1], time.monotonic()
            if killed != NOBODY:
                await strike(home, killed, signal.SIGKILL)
                await asyncio.to_thread(up, home)
                await _moves(here, points, stood)
            silent = time.monotonic() - at
            after = await _rate(here, points, WARM_SECONDS[killed])
            found.append((killed, Kill(before, after, silent)))
            before = after
        if points[-1][1] >= sent:
            raise SystemExit(f"{sent} invoices are too few: all were done before the last rate was seen: --backlog")
        await _everything_once(here, sent)
        return points, found


async def _rate(here: Deployment, points: Points, warm_seconds: float) -> float:
    """Commands per second in a window that begins in so many seconds."""
    await _look(here, points, warm_seconds)
    first = points[-1]
    await _look(here, points, WINDOW_SECONDS)
    return (points[-1][1] - first[1]) / (points[-1][0] - first[0])


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


def section(found: Found) -> page.Section:
    rows = []
    for killed, kills in found.kills.items():
        before, after = Figure([one.before for one in kills]), Figure([one.after for one in kills])
        ratio, silent = after.ratio_to(before), Figure([one.silent_seconds for one in kills])
        rows.append((
            NAMES[killed], before, after, f"**{ratio.median:.2f}** ({ratio.low:.2f}–{ratio.high:.2f})",
            "" if killed == NOBODY else f"{silent.median:.1f} s (at most {silent.high:.1f} s)",
        ))  # fmt: skip
    head = ("killed with SIGKILL, started again", "invoices/s before", "invoices/s after", "after of before",
            "until commands flow again")  # fmt: skip
    postgres, kafka = (WARM_SECONDS[killed] for killed in ("postgres", "kafka"))
    text = (
        f"{page.table(head, rows)}\n\nOne worker per round, from a backlog of {found.invoices:,} invoices. Each rate "
        f"over {WINDOW_SECONDS:.0f} s, {postgres:.0f} s after commands flowed again, {kafka:.0f} s where the broker "
        "had died, whose virtual machine has to compile everything anew on the same cores. Between the kills the same "
        "is seen where nobody was killed: the rate changes by itself while the tables grow, the database cleans up, "
        "and the machine has other guests. Afterwards the books hold each invoice's command once."
    )
    start = found.points[0][0]
    rates = [(after[0] - start, (after[1] - before[1]) / (after[0] - before[0]))
             for before, after in pairwise(found.points[::2]) if after[0] > before[0]]  # fmt: skip
    shown = picture.lines("PostgreSQL, then the broker killed under load", "commands/s", "seconds", {"commands": rates})
    return page.Section("kills", text, "make bench-kills", {"kills": shown})
