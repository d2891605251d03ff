"""A worker in the test's own process, whose state a test can read and in which it can raise errors."""

import asyncio
from typing import Any, ClassVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tests.integration.stream.deployment import StreamDeployment
from tests.integration.stream.toy import Toy
from worker.cancelled import end
from worker.kafka.sink import Sink
from worker.settings import Settings, load
from worker.stream.control import Control
from worker.stream.runner import Runner
from worker.stream.session import Session


class InProcessWorker:
    """Runs a worker until `stop`. Tests reach the runner's private attributes only through this class."""

    _started: ClassVar[list[asyncio.Task[None]]] = []

    def __init__(self, settings: Settings, feature: type[Toy] = Toy) -> None:
        self.control = Control(settings)
        self.toy: Any = feature(self.control)
        self.runner = Runner(self.toy, self.control)
        self.running = asyncio.create_task(self.runner.run())
        self._started.append(self.running)

    @classmethod
    async def end_all(cls) -> None:
        """Cancels the workers that were not stopped."""
        tasks, cls._started = cls._started, []
        await end(tasks)

    @property
    def session(self) -> Session:
        """The current session; after an error the runner opens another."""
        assert self.runner._session is not None
        return self.runner._session

    @property
    def consumer(self) -> AIOKafkaConsumer:
        """aiokafka's consumer, for faults inside it."""
        return self.session._source._consumer

    @property
    def sink(self) -> Sink:
        return self.session._publisher._sink

    @property
    def producer(self) -> AIOKafkaProducer:
        """aiokafka's producer."""
        assert self.sink._producer is not None
        return self.sink._producer

    async def is_ready(self) -> bool:
        return not self.runner.condition()

    async def is_not_ready(self) -> bool:
        return not await self.is_ready()

    async def stop(self) -> None:
        """Drains, as after SIGTERM."""
        self.runner.stop()
        await self.running


async def start_and_consume(
    deployment: StreamDeployment, feature: type[Toy] = Toy, **environment: str
) -> InProcessWorker:
    """Starts a worker and waits until it has consumed its first record."""
    worker = InProcessWorker(load(deployment.environment | environment), feature)
    await deployment.send("order-1")
    await deployment.until_seen(1)
    return worker
