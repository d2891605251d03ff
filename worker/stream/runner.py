"""Runs one worker: one session after another until it is told to stop; and the program around it."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Mapping

from worker import metrics, telemetry
from worker.cancelled import not_by_us
from worker.health import HealthServer
from worker.kafka import topics
from worker.kafka.batches import UnreadableBatchError
from worker.kafka.records import Place
from worker.kafka.sink import Sink
from worker.kafka.source import LogTruncatedError, OffsetGoneError
from worker.kafka.topics import TopicsError
from worker.postgres.connecting import DatabaseUrlError, connected
from worker.postgres.migrations import MigrationError, require_current
from worker.settings import Settings
from worker.stream import garbage
from worker.stream.behind import DatabaseBehindError
from worker.stream.control import Control
from worker.stream.cycle import Handler
from worker.stream.debounce import Debouncer
from worker.stream.faults import Remedy, remedy
from worker.stream.outbox import UnreadableRowError
from worker.stream.ownership import WrongPartitionsError
from worker.stream.session import Session
from worker.stream.session_health import SessionHealth
from worker.stream.table_metrics import TableMetrics
from worker.tracing import tracing

# Errors that end the worker, since waiting does not help, and whose message is all that the log needs.
EXPLAINED = (
    DatabaseBehindError, DatabaseUrlError, MigrationError, OffsetGoneError, LogTruncatedError,
    TopicsError, UnreadableBatchError, UnreadableRowError, WrongPartitionsError,
)  # fmt: skip
LEASE_OVER = "PostgreSQL has not renewed this worker's lease in time"


class Runner:
    """Keeps a session running until `stop`, also across outages of PostgreSQL and Kafka."""

    def __init__(self, handler: Handler, control: Control) -> None:
        self.handler = handler
        self._control = control
        self._settings = control.settings
        self._stopping = asyncio.Event()
        self._session: Session | None = None
        self._dead_letter_bytes: Mapping[str, int] = {}
        self._topics_doubted = False
        self._health = SessionHealth()
        self._table_metrics = TableMetrics(handler, control)

    async def run(self) -> None:
        """Runs until `stop`; raises errors against which waiting does not help."""
        working = asyncio.create_task(self._work(), name="runner")
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
            seconds = self._settings.drain_seconds
            _, unfinished = await asyncio.wait([working], timeout=seconds)
            if unfinished:
                telemetry.log.warning("not drained in time; other workers take over what is left", seconds=seconds)
        finally:
            stopping.cancel()
            working.cancel()
            await asyncio.wait([working])
        if not working.cancelled():
            working.result()

    def stop(self) -> None:
        """Makes `run` drain and return."""
        self._stopping.set()
        if self._session is not None:
            self._session.stopping = True
        self._control.changed.set()

    def condition(self) -> Mapping[str, str]:
        """Returns what is missing for readiness; empty when the worker is ready."""
        if self._health.problem is not None or self._session is None:
            return {"problem": self._health.problem or "starting"}
        if self._control.epochs and not self._control.lease_is_valid():
            return {"problem": LEASE_OVER}
        problem = self._session.kafka_problem()
        return {"problem": problem} if problem else {}

    async def measure(self) -> None:
        """Sets the gauges that are measured only when somebody looks at the metrics."""
        metrics.ready.set(0 if self.condition() else 1)
        if self._session is not None:
            self._session.measure()
        await self._table_metrics.refresh()

    async def _work(self) -> None:
        while not self._stopping.is_set():
            self._health.attempt_started()
            try:
                with not_by_us():
                    await self._run_session()
            except Exception as problem:
                if not self._may_recover(problem):
                    raise
                pause = self._health.session_failed(problem)
            else:
                return
            garbage.collect_all()
            await self._sleep(pause)

    def _may_recover(self, problem: Exception) -> bool:
        """Whether waiting helps. Topics that were verified once may be repaired by whoever changed them."""
        if isinstance(problem, TopicsError):
            return self._topics_doubted
        self._topics_doubted |= isinstance(problem, topics.TOPIC_CHANGED)
        return remedy(problem) is not Remedy.EXIT

    async def _run_session(self) -> None:
        await self._verify()
        # A process that was frozen publishes nothing before the database has confirmed its lease.
        async with Sink(self._settings, self._control.lease_is_valid, is_available=self._is_available) as sink:
            session = Session(self.handler, self._control, self._health, sink, self._dead_letter_bytes)
            self._session = session
            try:
                await session.open()
                session.stopping = self._stopping.is_set()
                await session.run()
                await session.close()
            except BaseException:
                await session.drop()
                raise
            finally:
                self._health.session_ended()
                self._session = None

    async def _verify(self) -> None:
        """Checks schema and topics once, and the topics again after an error about a topic."""
        if not self._dead_letter_bytes:
            async with connected(self._settings.database, name=f"settlement-{self.handler.role}") as connection:
                await require_current(connection)
        elif not self._topics_doubted:
            return
        self._dead_letter_bytes = await topics.verify(self._settings)
        self._topics_doubted = False

    def _is_available(self, place: Place) -> bool:
        return self._session is None or self._session.availability.has(place)

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()


async def run_worker(settings: Settings, handler_factory: Callable[[Control], Handler]) -> int:
    """Runs one worker as a program, with signals and the health server; returns the exit code."""
    telemetry.configure(settings)
    garbage.collect_between_cycles_only()
    control = Control(settings)
    handler = handler_factory(control)
    runner = Runner(handler, control)
    tracing.configure(f"settlement-{handler.role}")
    health = HealthServer(settings, runner.condition, runner.measure)
    await health.start()
    _listen(runner)
    try:
        await runner.run()
    except EXPLAINED as problem:
        telemetry.log.error(str(problem))
        return 1
    except Exception:  # noqa: BLE001 - the last line of the program
        telemetry.log.exception("the worker met something that it cannot mend")
        return 1
    finally:
        await handler.close()
        await health.stop()
        tracing.stop()
    return 0


def _listen(runner: Runner) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, runner.stop)
    loop.add_signal_handler(signal.SIGINT, runner.stop)
    loop.add_signal_handler(signal.SIGHUP, Debouncer(runner.handler.reload).trigger)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP, signal.SIGTERM])  # earlier signals are delivered now
