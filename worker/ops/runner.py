"""`settlement ops`: runs the view and its pages."""

import asyncio
import os
import signal
from typing import Any

from aiokafka.errors import KafkaConnectionError, KafkaError

from worker import telemetry
from worker.cancelled import end
from worker.kafka.refusals import describe_kafka_error
from worker.kafka.topics import TopicsError
from worker.ops.guard import Guard
from worker.ops.monitor import DeploymentMonitor
from worker.ops.reading import Reader
from worker.ops.server import Server
from worker.ops.site import Site
from worker.ops.view import View
from worker.settings import Settings

PORT = 8321
CHECK_SECONDS = 1.0
STOP_SECONDS_MAX = 25.0


async def run_ops(settings: Settings) -> int:
    """Runs until SIGTERM or a failure, and returns the exit code."""
    telemetry.configure(settings)
    guard = Guard(settings)
    reader = Reader(settings.database)
    site = Site(settings, guard, View(settings), DeploymentMonitor(settings, reader), reader)
    server = Server(site)
    stopping = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stopping.set)
    await reader.start()
    await server.start(PORT if settings.ops_port is None else settings.ops_port)
    print(f"ops view on {server.address}", flush=True)  # noqa: T201 - this is its output
    try:
        code = await _run(site, asyncio.create_task(stopping.wait()))
    except KafkaConnectionError as problem:
        telemetry.log.error("Kafka does not answer: is it running, and is KAFKA_BOOTSTRAP_SERVERS right?",
                            problem=str(problem))  # fmt: skip
        code = 1
    except (TopicsError, KafkaError, OSError) as problem:
        telemetry.log.error(describe_kafka_error(problem) if isinstance(problem, KafkaError) else str(problem))
        code = 1
    finally:
        ending = asyncio.create_task(_stop(site, server, reader))
        await asyncio.wait([ending], timeout=STOP_SECONDS_MAX)
    if not ending.done() or not site.view.faust_stopped:
        telemetry.flush()
        os._exit(code)  # what still runs ignores cancellation, and the interpreter would wait for its threads
    ending.result()
    return code


async def _stop(site: Site, server: Server, reader: Reader) -> None:
    await server.stop()
    await site.monitor.stop()
    await site.view.stop()
    await reader.stop()


async def _run(site: Site, stopping: "asyncio.Task[Any]") -> int:
    """Starts the view and the monitor; returns 0 when `stopping` is done, 1 when the view cannot go on.

    The start may take long: until a dead view's session times out, or for ever while Kafka refuses the view.
    After 1 a supervisor starts the program again; the tables are in Kafka.
    """
    starting = asyncio.create_task(_start(site))
    awaited = {starting, stopping}
    try:
        while not stopping.done():
            done, _ = await asyncio.wait(awaited, timeout=CHECK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if starting in done:
                starting.result()
                awaited.remove(starting)
            if problem := site.view.fatal_reason():
                telemetry.log.error(problem)
                return 1
        return 0
    finally:
        await end([starting, stopping])


async def _start(site: Site) -> None:
    await site.view.start()
    await site.monitor.start()
