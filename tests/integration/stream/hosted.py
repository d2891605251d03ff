"""A worker in the test's own process, so that the test sees inside and makes it meet what no signal can bring about."""

import asyncio
from typing import Generic, TypeVar

from tests.integration.stream.deployment import StreamDeployment
from tests.integration.stream.toy import Toy
from worker.settings import Settings
from worker.stream.control import Control
from worker.stream.runner import Runner

Feature = TypeVar("Feature", bound=Toy)


class Hosted(Generic[Feature]):
    """At work from here on, until `stop`."""

    def __init__(self, settings: Settings, feature: type[Feature] = Toy) -> None:
        self.control = Control(settings)
        self.toy = feature(self.control)
        self.runner = Runner(self.toy, self.control)
        self.running = asyncio.create_task(self.runner.run())

    async def stop(self) -> None:
        """Drains."""
        self.runner.stop()
        await self.running


async def at_work(deployment: StreamDeployment) -> Hosted[Toy]:
    """A worker that has read its first record."""
    worker = Hosted(deployment.settings)
    await deployment.send("order-1")
    await deployment.until_seen(1)
    return worker
