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
# After commands flow again; the broker's virtual machine begins uncompiled, and compiles on the cores we work on.
WARM_SECONDS = {"postgres": 4.0, "kafka": 20.0}
FIRST_SECONDS, WINDOW_SECONDS = 12.0, 8.0
PARCELS = 2
LOOK_SECONDS = 0.25

Points = list[tuple[float, int]]


class Kill(Struct):
    """What one kill did to the rate, held against a worker that nobody disturbs, over the same invoices."""

    undisturbed: float
    after: float
    silent_seconds: float


class Found(Struct):
    kills: dict[str, list[Kill]]
    points: Points
    """Of the last round: seconds, and commands written so far."""
    invoices: int


async def run(rounds: int, backlog: int) -> Found:
    """Twice per round, undisturbed and with kills, each with a stack of its own."""
    kills: dict[str, list[Kill]] = {service: [] for service in KILLED}
    points: Points = []
    for number in range(rounds):
        alone, _ = await _on_a_stack_of_its_own(backlog, ())
        points, windows = await _on_a_stack_of_its_own(backlog, KILLED)
        for service, (silent, first, last) in windows.items():
            after = (last[1] - first[1]) / (last[0] - first[0])
            kills[service].append(Kill(_rate_between(alone, first[1], last[1]), after, silent))
        told = ", ".join(f"{service} {found[-1].after / found[-1].undisturbed:.2f}" for service, found in kills.items())
        print(f"  round {number + 1}, rate after a kill of the undisturbed one: {told}", flush=True)
    return Found(kills, points, backlog)


Window = tuple[float, tuple[float, int], tuple[float, int]]
"""How long nothing flowed, and the two points between which the rate after it is seen."""


async def _on_a_stack_of_its_own(backlog: int, killed: Iterable[str]) -> tuple[Points, dict[str, Window]]:
    with TemporaryDirectory(prefix="bench-") as folder:
        home = Path(folder) / "home"
        try:
            return await _round(home, up(home), backlog, killed)
        finally:
            down(home)


async def _round(home: Path, stack: StackEnv, backlog: int, killed: Iterable[str]) -> tuple[Points, dict[str, Window]]:
    async with deployment(stack) as here:
        ids = await opened(here, backlog // PARCELS)
        sent = await here.send(load.invoices(ids, range(PARCELS), PARTITIONS))
        points: Points = []
        windows: dict[str, Window] = {}
        here.start("worker", "ledger")
        await _moves(here, points, 0)
        await _look(here, points, FIRST_SECONDS)
        for service in killed:
            stood, at = points[-1][1], time.monotonic()
            await strike(home, service, signal.SIGKILL)
            await asyncio.to_thread(up, home)
            await _moves(here, points, stood)
            silent = time.monotonic() - at
            await _look(here, points, WARM_SECONDS[service])
            first = points[-1]
            await _look(here, points, WINDOW_SECONDS)
            windows[service] = silent, first, points[-1]
        if points[-1][1] >= sent:
            raise SystemExit(f"{sent} invoices are too few: all were done before the last rate was seen: --backlog")
        while not windows and points[-1][1] < sent:
            await _moves(here, points, points[-1][1])
        await _everything_once(here, sent)
        return points, windows


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


def _rate_between(points: Points, first: int, last: int) -> float:
    """How fast the invoices between these two were done."""
    began = next(at for at, done in points if done >= first)
    ended = next(at for at, done in points if done >= last)
    return (last - first) / (ended - began)


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
        after, alone = (Figure([one.after for one in kills]), Figure([one.undisturbed for one in kills]))
        ratio, silent = after.ratio_to(alone), Figure([one.silent_seconds for one in kills])
        rows.append((
            KILLED[service], alone, after, f"**{ratio.median:.2f}** ({ratio.low:.2f}–{ratio.high:.2f})",
            f"{silent.median:.1f} s (at most {silent.high:.1f} s)",
        ))  # fmt: skip
    head = ("killed with SIGKILL, started again", "invoices/s undisturbed", "invoices/s after", "after of undisturbed",
            "until commands flow again")  # fmt: skip
    postgres, kafka = WARM_SECONDS.values()
    text = (
        f"{page.table(head, rows)}\n\nEach rate over {WINDOW_SECONDS:.0f} s, {postgres:.0f} s after commands flowed "
        f"again, {kafka:.0f} s where the broker had died, whose virtual machine has to compile everything anew on the "
        f"same cores; both servers killed in every round, from a backlog of {found.invoices:,} invoices. Undisturbed "
        "is another worker of the same round, with its own stack, over the same invoices: the rate changes by itself "
        "while the tables grow and the database cleans up. Afterwards the books hold each invoice's command once."
    )
    start = found.points[0][0]
    rates = [(after[0] - start, (after[1] - before[1]) / (after[0] - before[0]))
             for before, after in pairwise(found.points[::2]) if after[0] > before[0]]  # fmt: skip
    shown = picture.lines("PostgreSQL, then the broker killed under load", "commands/s", "seconds", {"commands": rates})
    return page.Section("kills", text, "make bench-kills", {"kills": shown})
