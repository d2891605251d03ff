"""A worker in the test's own process, which a test can look into and make meet errors that no signal causes."""

import asyncio
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tests.integration.stream.deployment import StreamDeployment
from tests.integration.stream.toy import Toy
from worker.kafka.sink import Sink
from worker.settings import Settings
from worker.stream.control import Control
from worker.stream.runner import Runner
from worker.stream.session import Session


class Hosted:
    """Runs until `stop`. What is private to the runner is reached here and nowhere else."""

    def __init__(self, settings: Settings, feature: type[Toy] = Toy) -> None:
        self.control = Control(settings)
        self.toy: Any = feature(self.control)
        self.runner = Runner(self.toy, self.control)
        self.running = asyncio.create_task(self.runner.run())

    @property
    def session(self) -> Session:
        """The present one; after trouble the runner makes another."""
        assert self.runner._session is not None
        return self.runner._session

    @property
    def consumer(self) -> AIOKafkaConsumer:
        """aiokafka's own, for faults that only it can have."""
        return self.session._source._consumer

    @property
    def sink(self) -> Sink:
        assert self.runner._sink is not None
        return self.runner._sink

    @property
    def producer(self) -> AIOKafkaProducer:
        """aiokafka's own."""
        assert self.sink._producer is not None
        return self.sink._producer

    async def stop(self) -> None:
        """Drains, as after SIGTERM."""
        self.runner.stop()
        await self.running


async def at_work(deployment: StreamDeployment) -> Hosted:
    """Starts a worker and waits until it has consumed its first record."""
    worker = Hosted(deployment.settings)
    await deployment.send("order-1")
    await deployment.until_seen(1)
    return worker
