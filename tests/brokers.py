"""Several brokers of one cluster, and topics whose partitions have replicas on the brokers that a test names."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import NewTopic

from worker.kafka.log_inspector import IN_SYNC_MIN
from worker.stack.broker import Broker
from worker.stack.home import LOOPBACK, Home
from worker.stack.service import Service

FIRST = 1


class JoiningBroker(Broker):
    """Joins the cluster of the first broker, which stays the only controller."""

    def __init__(self, home: Home, number: int, first: Broker) -> None:
        super().__init__(home)
        self._number = number
        self._first = first

    def prepare(self) -> None:
        super().prepare()
        meta = self.data / "meta.properties"
        [cluster_id] = re.findall("cluster.id=.*", (self._first.data / "meta.properties").read_text())
        ours = re.sub("cluster.id=.*", cluster_id, meta.read_text())
        meta.write_text(re.sub("node.id=.*", f"node.id={self._number}", ours))

    def accepts(self) -> bool:
        try:
            socket.create_connection((LOOPBACK, self.home.port("kafka")), 5).close()
        except OSError:
            return False
        return True

    def command(self) -> list[str]:
        command = super().command()
        with self._settings.open("a") as settings:  # the last value of a name is in force
            settings.write(
                f"process.roles=broker\nnode.id={self._number}\nlisteners=BROKER://{self.address}\n"
                f"controller.quorum.voters={FIRST}@{LOOPBACK}:{self._first.home.port('kafka_controller')}\n"
            )
        return command

    def kill(self) -> None:
        for process in self._processes()[0]:
            process.kill()
            process.wait()


@asynccontextmanager
async def cluster(folder: Path, size: int) -> AsyncIterator[tuple[Broker, list[JoiningBroker]]]:
    """The first broker, which has the cluster's own topics, and the others. All run, and are stopped at the end."""
    first = Broker(Home(folder / "broker-1"))
    others = [JoiningBroker(Home(folder / f"broker-{number}"), number, first) for number in range(2, size + 1)]
    try:
        await start(first)
        reading = AIOKafkaConsumer(bootstrap_servers=first.address, group_id="any")
        await reading.start()
        await reading.committed(TopicPartition("none", 0))
        await reading.stop()
        for broker in others:
            await start(broker)
        yield first, others
    finally:
        for started in (*others, first):
            await asyncio.to_thread(started.stop)


def placed(prefix: str, brokers_of: Callable[[str, int], Sequence[int]]) -> Callable[..., NewTopic]:
    """Stands for `NewTopic` where topics are created: each partition has a replica on each broker of these numbers.

    It can be written if two are in sync, or if it has only one. All partitions of a topic have the same number.
    """

    def new_topic(topic: str, partitions: int, _factor: int, _replicas: Any, config: Mapping[str, Any]) -> NewTopic:
        name = topic.removeprefix(prefix)
        brokers = {number: brokers_of(name, number) for number in range(partitions)}
        return NewTopic(topic, -1, -1, brokers, {**config, IN_SYNC_MIN: "2"})

    return new_topic


async def start(server: Service) -> None:
    """Starts the server of a home, which is made if there is none."""
    server.home.make()
    await asyncio.to_thread(server.start)
