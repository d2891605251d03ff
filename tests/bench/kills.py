"""PostgreSQL and the broker are killed while the ledger worker is busy: how long it stands, and how fast it goes on."""

import asyncio
import contextlib
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
from tests.chaos.rehearsing import kill_server
from worker.kafka import names
from worker.stack import StackEnv, down, up

KILLED = {"nothing": "nothing, as long", "postgres": "PostgreSQL", "kafka": "Kafka broker"}
# After commands flow again; the broker's virtual machine begins uncompiled, and compiles on the cores we work on.
WARM_SECONDS = {"nothing": 20.0, "postgres": 4.0, "kafka": 20.0}
FIRST_SECONDS, WINDOW_SECONDS = 4.0, 8.0
PARCELS = 2
LOOK_SECONDS = 0.25

Points = list[tuple[float, int]]


class Kill(Struct):
    """What one kill did to the rate."""

    before: float
    after: float
    silent_seconds: float


class Found(Struct):
    kills: dict[str, list[Kill]]
    points: Points
    """Of the last round: seconds, and commands written so far."""
    invoices: int


async def run(rounds: int, backlog: int) -> Found:
    """A stack of its own for each round, since it is killed."""
    kills: dict[str, list[Kill]] = {service: [] for service in KILLED}
    points: Points = []
    for number in range(rounds):
        with TemporaryDirectory(prefix="bench-") as folder:
            home = Path(folder) / "home"
            try:
                points = await _round(home, up(home), backlog, kills)
            finally:
                down(home)
        told = ", ".join(f"{service} {found[-1].after / found[-1].before:.2f}" for service, found in kills.items())
        print(f"  round {number + 1}, rate after of rate before: {told}", flush=True)
    return Found(kills, points, backlog)


async def _round(home: Path, stack: StackEnv, backlog: int, kills: dict[str, list[Kill]]) -> Points:
    async with deployment(stack) as here:
        ids = await opened(here, backlog // PARCELS)
        sent = await here.send(load.invoices(ids, range(PARCELS), PARTITIONS))
        points: Points = []
        here.start("worker", "ledger")
        await _moves(here, points, 0)
        await _look(here, points, FIRST_SECONDS)
        before = await _rate(here, points)
        for service, found in kills.items():
            stood, at = points[-1][1], time.monotonic()
            if service != "nothing":  # what becomes of the rate by itself, while the tables grow
                kill_server(home, service)
                await asyncio.to_thread(up, home)
            await _moves(here, points, stood)
            silent = time.monotonic() - at
            await _look(here, points, WARM_SECONDS[service])
            after = await _rate(here, points)
            found.append(Kill(before, after, silent))
            before = after
        if points[-1][1] >= sent:
            raise SystemExit(f"{sent} invoices are too few: all were done before the last rate was seen: --backlog")
        await _everything_once(here, sent)
        return points


async def _look(here: Deployment, points: Points, seconds: float = 0.0) -> None:
    """How many commands are written, for so long, as often as the broker answers; once at least."""
    until = time.monotonic() + seconds
    while True:
        with contextlib.suppress(TimeoutError, KafkaError):  # it was killed: the picture has a gap there
            async with asyncio.timeout(LOOK_SECONDS * 4):
                points.append((time.monotonic(), await here.written(names.COMMANDS)))
        await asyncio.sleep(LOOK_SECONDS)
        if time.monotonic() >= until:
            return


async def _moves(here: Deployment, points: Points, beyond: int) -> None:
    """More commands than so many are written."""
    async with asyncio.timeout(STALLED_SECONDS):
        while not points or points[-1][1] <= beyond:
            await _look(here, points)


async def _rate(here: Deployment, points: Points) -> float:
    began = points[-1]
    await _look(here, points, WINDOW_SECONDS)
    return (points[-1][1] - began[1]) / (points[-1][0] - began[0])


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
    for service, kills in found.kills.items():
        after, before = (Figure([one.after for one in kills]), Figure([one.before for one in kills]))
        ratio, silent = after.ratio_to(before), Figure([one.silent_seconds for one in kills])
        rows.append((
            KILLED[service], before, after, f"**{ratio.median:.2f}** ({ratio.low:.2f}–{ratio.high:.2f})",
            f"{silent.median:.1f} s (at most {silent.high:.1f} s)" if service != "nothing" else "",
        ))  # fmt: skip
    head = ("killed with SIGKILL, started again", "invoices/s before", "invoices/s after", "after of before",
            "until commands flow again")  # fmt: skip
    _, postgres, kafka = WARM_SECONDS.values()
    text = (
        f"{page.table(head, rows)}\n\nEach rate over {WINDOW_SECONDS:.0f} s, {postgres:.0f} s after commands flowed "
        f"again, {kafka:.0f} s where the broker had died, whose virtual machine has to compile everything anew on the "
        f"same cores; both servers killed in every round, from a backlog of {found.invoices:,} invoices. The first row "
        "is the same worker, left alone for as long. Afterwards the books hold each invoice's command once."
    )
    start = found.points[0][0]
    rates = [(after[0] - start, (after[1] - before[1]) / (after[0] - before[0]))
             for before, after in pairwise(found.points[::2]) if after[0] > before[0]]  # fmt: skip
    shown = picture.lines("PostgreSQL, then the broker killed under load", "commands/s", "seconds", {"commands": rates})
    return page.Section("kills", text, "make bench-kills", {"kills": shown})
