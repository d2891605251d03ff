"""PostgreSQL and the broker are killed under load: how long the ledger worker stands still, and how fast it goes on."""

import asyncio
import contextlib
import signal
import time
from itertools import chain, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from aiokafka.errors import KafkaError
from msgspec import Struct

from tests.bench import load, page, picture
from tests.bench.deployment import PARTITIONS, STALLED_SECONDS, Deployment, fresh_deployment
from tests.bench.ledger import opened
from tests.bench.rounds import Figure
from tests.striking import strike
from worker.kafka import names
from worker.stack import StackEnv, down, up

NOBODY = "nobody"
NAMES = {"postgres": "PostgreSQL", "kafka": "Kafka broker", NOBODY: "nobody, to compare"}
# Between two kills comes a turn without one, since the rate also changes by itself.
IN_TURN = ("postgres", NOBODY, "kafka", NOBODY)
# After commands flow again: a new broker first compiles its code, on the cores that the worker uses too. The same after
# every turn, since the rate also changes with time.
WARM_UP_SECONDS = 20.0
# Long enough for each window to have its checkpoints and vacuums: rates over 8 s differed by a fifth without any kill.
WINDOW_SECONDS = 20.0
PARCELS = 2
# An order's second invoice costs more than its first. So many orders get both before the next ones get any, so that
# each window has the same mix.
ORDERS_AT_ONCE = 5_000
POLL_SECONDS = 0.25

Points = list[tuple[float, int]]


class Kill(Struct):
    """The rates right before and right after a kill, and the time without commands."""

    before: float
    after: float
    silent_seconds: float


class Result(Struct):
    kills: dict[str, list[Kill]]
    points: Points
    """Seconds, and commands written so far, in the last round."""
    invoices: int


async def run(rounds: int, backlog: int) -> Result:
    """Runs one worker per round, each with its own stack."""
    kills: dict[str, list[Kill]] = {killed: [] for killed in NAMES}
    points: Points = []
    for number in range(rounds):
        with TemporaryDirectory(prefix="bench-") as folder:
            home = Path(folder) / "home"
            try:
                points, round_kills = await _round(home, up(home), backlog)
            finally:
                down(home)
        for killed, kill in round_kills:
            kills[killed].append(kill)
        ratios = ", ".join(f"{killed} {kill.after / kill.before:.2f}" for killed, kill in round_kills)
        print(f"  round {number + 1}, rate after / before: {ratios}", flush=True)
    return Result(kills, points, backlog)


async def _round(home: Path, stack: StackEnv, backlog: int) -> tuple[Points, list[tuple[str, Kill]]]:
    async with fresh_deployment(stack) as deployment:
        ids = await opened(deployment, backlog // PARCELS)
        groups = (ids[start : start + ORDERS_AT_ONCE] for start in range(0, len(ids), ORDERS_AT_ONCE))
        invoices = (load.invoices(group, range(PARCELS), PARTITIONS) for group in groups)
        sent = await deployment.send(chain.from_iterable(invoices))
        points: Points = []
        deployment.start("worker", "ledger")
        await _until_beyond(deployment, points, 0)
        before = await _rate(deployment, points)
        kills: list[tuple[str, Kill]] = []
        for killed in IN_TURN:
            written, killed_at = points[-1][1], time.monotonic()
            if killed != NOBODY:
                await strike(home, killed, signal.SIGKILL)
                await asyncio.to_thread(up, home)
                await _until_beyond(deployment, points, written)
            silent = time.monotonic() - killed_at
            after = await _rate(deployment, points)
            kills.append((killed, Kill(before, after, silent)))
            before = after
        if points[-1][1] >= sent:
            raise SystemExit(f"all {sent} invoices were done before the last rate was measured: use a larger --backlog")
        await _check_each_invoice_once(deployment, sent)
        return points, kills


async def _rate(deployment: Deployment, points: Points) -> float:
    """Commands per second in a window that begins after the warm-up."""
    await _sample(deployment, points, WARM_UP_SECONDS)
    first = points[-1]
    await _sample(deployment, points, WINDOW_SECONDS)
    return (points[-1][1] - first[1]) / (points[-1][0] - first[0])


async def _sample(deployment: Deployment, points: Points, seconds: float = 0.0) -> None:
    """Records the number of written commands for some seconds, at least once, whenever the broker answers."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(TimeoutError, KafkaError):  # it was killed: the picture gets a gap
            async with asyncio.timeout(POLL_SECONDS * 4):
                points.append((time.monotonic(), await deployment.written(names.COMMANDS)))
        deployment.raise_if_exited()
        await asyncio.sleep(POLL_SECONDS)
        if time.monotonic() >= deadline:
            return


async def _until_beyond(deployment: Deployment, points: Points, beyond: int) -> None:
    """Waits until more than `beyond` commands are written."""
    async with asyncio.timeout(STALLED_SECONDS):
        while not points or points[-1][1] <= beyond:
            await _sample(deployment, points)


async def _check_each_invoice_once(deployment: Deployment, sent: int) -> None:
    """Checks that the ledger has each invoice's command once; after a kill the topic may have it twice."""
    await deployment.reconnect()
    await deployment.until_consumed(names.INVOICES, sent)
    ledger = await deployment.database.fetchrow(
        "SELECT (SELECT count(*) FROM ledger.commands) AS commands, "
        "(SELECT sum(amount) FROM ledger.entries WHERE credit = 'settling') AS settling"
    )
    if (ledger["commands"], ledger["settling"]) != (sent, sent * load.PARCEL):
        raise SystemExit(
            f"after the kills the ledger has {dict(ledger)}, expected {sent} invoices of {load.PARCEL} each"
        )


def section(result: Result) -> page.Section:
    rows = []
    befores = {killed: Figure([kill.before for kill in kills]) for killed, kills in result.kills.items()}
    afters = {killed: Figure([kill.after for kill in kills]) for killed, kills in result.kills.items()}
    ratios = {killed: after.ratio_to(befores[killed]) for killed, after in afters.items()}
    for killed, kills in result.kills.items():
        ratio, silent = ratios[killed], Figure([kill.silent_seconds for kill in kills])
        rows.append((
            NAMES[killed], befores[killed], afters[killed],
            f"**{ratio.median:.2f}** ({ratio.low:.2f}–{ratio.high:.2f})",
            "" if killed == NOBODY else f"**{ratio.median / ratios[NOBODY].median:.2f}**",
            "" if killed == NOBODY else f"{silent.median:.1f} s (at most {silent.high:.1f} s)",
        ))  # fmt: skip
    head = ("killed with SIGKILL, started again", "invoices/s before", "invoices/s after", "after of before",
            "to nobody's", "until commands flow again")  # fmt: skip
    text = (
        f"{page.table(head, rows)}\n\nOne worker per round, from a backlog of {result.invoices:,} invoices. Each rate "
        f"over {WINDOW_SECONDS:.0f} s, {WARM_UP_SECONDS:.0f} s after commands flowed again: a new broker's virtual "
        "machine has to compile everything anew on the same cores. Between the kills the same is seen where nobody was "
        "killed: the rate changes by itself while the tables grow, the database cleans up, and the machine has other "
        "guests. Afterwards the books hold each invoice's command once."
    )
    start = result.points[0][0]
    rates = [(after[0] - start, (after[1] - before[1]) / (after[0] - before[0]))
             for before, after in pairwise(result.points[::2]) if after[0] > before[0]]  # fmt: skip
    shown = picture.lines("PostgreSQL, then the broker killed under load", "commands/s", "seconds", {"commands": rates})
    return page.Section("kills", text, "make bench-kills", {"kills": shown})
