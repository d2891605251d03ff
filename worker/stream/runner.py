"""Runs one worker: a session after another until it is told to stop, and a program around it."""

import asyncio
import contextlib
import math
import random
import signal
import time
from collections.abc import Callable, Mapping

from aiokafka.errors import KafkaError
from asyncpg.exceptions import ClientConfigurationError

from worker import metrics, telemetry
from worker.cancelled import GivenUpError, not_by_us
from worker.health import OpsServer
from worker.kafka import topics
from worker.kafka.batches import UnreadableBatchError
from worker.kafka.refusals import refusal
from worker.kafka.sink import Sink
from worker.kafka.source import OffsetGoneError
from worker.kafka.topics import TopicsError
from worker.postgres.connecting import connected
from worker.postgres.migrations import MigrationError, require_current
from worker.settings import Settings
from worker.stream import garbage
from worker.stream.behind import DatabaseBehindError
from worker.stream.control import Control
from worker.stream.cycle import Handler
from worker.stream.faults import Remedy, remedy
from worker.stream.measuring import Measuring
from worker.stream.outbox import UnreadableRowError
from worker.stream.ownership import WrongPartitionsError
from worker.stream.session import KAFKA_AWAY, Session
from worker.tracing import tracing

PAUSE_SECONDS_MIN = 0.1
PAUSE_SECONDS_MAX = 2.0
# A session that worked so long has shown that the trouble was over.
STEADY_SECONDS = 10.0
# After so many in a row that began and ended sooner, a beginning shows nothing.
FALLS_MAX = 3
# Longer is an alert: the pause before another attempt, or one that could not even begin to work.
ALERT_SECONDS = 1.0
NEVER = math.inf
DATABASE_AWAY = "database_away"

# What one sentence explains and no patience mends.
EXPLAINED = (
    DatabaseBehindError, MigrationError, OffsetGoneError, TopicsError, UnreadableBatchError, UnreadableRowError,
    WrongPartitionsError,
)  # fmt: skip


class Runner:
    """From joining to draining. Comes back by itself when PostgreSQL or Kafka were away."""

    def __init__(self, settings: Settings, handler: Handler, control: Control | None = None) -> None:
        self.settings = settings
        self.handler = handler
        self.control = control or Control(settings)
        self._stopping = asyncio.Event()
        self._session: Session | None = None
        self._sink: Sink | None = None
        self._dead_letter_bytes: Mapping[str, int] = {}
        self._topics_doubted = False
        self._falls = 0
        self._settled_at = NEVER
        self._problem: str | None = "starting"
        self._measuring = Measuring(settings, handler, self.control)

    async def run(self) -> None:
        """Until `stop`; raises what no patience mends."""
        working = asyncio.create_task(self._work(), name="runner")
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
            seconds = self.settings.drain_seconds
            _, late = await asyncio.wait([working], timeout=seconds)
            if late:
                telemetry.log.warning("not drained in time; the others find what is left", seconds=seconds)
        finally:
            stopping.cancel()
            working.cancel()
            await asyncio.wait([working])
            if self._sink is not None:
                await self._sink.stop()
        if not working.cancelled():
            working.result()

    def stop(self) -> None:
        """Ends `run` after a drain."""
        self._stopping.set()
        if self._session is not None:
            self._session.stopping = True
        self.control.changed.set()

    def condition(self) -> Mapping[str, str]:
        """What is missing for readiness; nothing when all is well."""
        if self._problem is not None or self._session is None:
            return {"problem": self._problem or "starting"}
        problem = self._session.kafka_problem()
        return {"problem": problem} if problem else {}

    async def measure(self) -> None:
        """Brings up to date what is measured only when somebody looks."""
        metrics.ready.set(0 if self.condition() else 1)
        if self._session is not None:
            self._session.measure()
        await self._measuring.look()

    async def _work(self) -> None:
        pause = PAUSE_SECONDS_MIN
        while not self._stopping.is_set():
            began, self._settled_at = time.monotonic(), NEVER
            try:
                with not_by_us():
                    await self._one_session()
            except ClientConfigurationError:
                raise
            except Exception as problem:
                # Topics that were right once can be so again: the worker waits for whoever changed them.
                of_topics = self._topics_doubted and isinstance(problem, TopicsError)
                if remedy(problem) is Remedy.BROKEN and not of_topics:
                    raise
                self._topics_doubted |= isinstance(problem, topics.DOUBTFUL)
                now = time.monotonic()
                if now - self._settled_at > STEADY_SECONDS:
                    pause, self._falls = PAUSE_SECONDS_MIN, 0
                kafka = isinstance(problem, KafkaError | GivenUpError | TopicsError)
                met = f"{'Kafka' if kafka else 'PostgreSQL'}: {type(problem).__name__}: {problem}"
                if isinstance(problem, TopicsError):
                    met = str(problem)
                elif said := refusal(problem):
                    met = f"Kafka {said}"
                if met != self._problem:  # the same again every two seconds would hide what else the log has
                    telemetry.log.warning("the session ended, another one begins", problem=met, pause=pause)
                self._problem = met
                if pause > ALERT_SECONDS or (self._settled_at > now and now - began > ALERT_SECONDS):
                    code = KAFKA_AWAY if kafka else DATABASE_AWAY
                    telemetry.alert(code, problem=met)
                await self._sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
                pause = min(pause * 2, PAUSE_SECONDS_MAX)

    async def _one_session(self) -> None:
        sink = await self._prepare()
        session = Session(self.settings, self.handler, self.control, sink, self._dead_letter_bytes)
        self._session = session
        falls, self._falls = self._falls, 0
        well: asyncio.TimerHandle | None = None

        def settled() -> None:
            nonlocal well
            self._settled_at, self._falls = time.monotonic(), falls + 1
            seconds = STEADY_SECONDS if falls >= FALLS_MAX else 0
            well = asyncio.get_running_loop().call_later(seconds, self._well, session)

        try:
            await session.open()
            session.stopping = self._stopping.is_set()
            await session.run(settled)
            await session.close()
        except BaseException:
            await session.drop()
            self._sink = None  # it may ask for ever where brokers no longer are; a new one asks the bootstrap servers
            await sink.stop()
            raise
        finally:
            if well is not None:
                well.cancel()
            self._session = None

    def _well(self, session: Session) -> None:
        """What was met is over: said at once, and only later where sessions begin and fall one after another."""
        session.trusted = True
        self._problem = None
        telemetry.clear_alert(KAFKA_AWAY)
        telemetry.clear_alert(DATABASE_AWAY)

    async def _prepare(self) -> Sink:
        """Once, and of topics also when Kafka doubts one: all is as it must be. Again, if it failed: a producer."""
        if not self._dead_letter_bytes:
            async with connected(self.settings.database, name=f"settlement-{self.handler.role}") as connection:
                await require_current(connection)
            self._dead_letter_bytes = await topics.verify(self.settings)
        elif self._topics_doubted:
            self._dead_letter_bytes = await topics.verify(self.settings)
            self._topics_doubted = False
        if self._sink is None:
            sink = Sink(self.settings)
            await sink.start()
            self._sink = sink
        return self._sink

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()


async def run_worker(settings: Settings, handler_factory: Callable[[Control], Handler]) -> int:
    """One worker as a program: signals, ops server, exit code."""
    telemetry.configure(settings)
    garbage.look_between_cycles()
    control = Control(settings)
    handler = handler_factory(control)
    runner = Runner(settings, handler, control)
    tracing.configure(f"settlement-{handler.role}")
    ops = OpsServer(settings, runner.condition, runner.measure)
    await ops.start()
    _listen(runner)
    try:
        await runner.run()
    except EXPLAINED as problem:
        telemetry.log.error(str(problem))
        return 1
    except ClientConfigurationError as problem:
        telemetry.log.error(f"DATABASE_URL cannot be used: {problem}")
        return 1
    except Exception:  # noqa: BLE001 - the last line of the program
        telemetry.log.exception("the worker met what it cannot mend")
        return 1
    finally:
        await handler.close()
        await ops.stop()
        tracing.stop()
    return 0


def _listen(runner: Runner) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, runner.stop)
    loop.add_signal_handler(signal.SIGINT, runner.stop)
    loop.add_signal_handler(signal.SIGHUP, runner.handler.reload)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])  # one that came earlier is heard now
