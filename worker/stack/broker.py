"""The broker: Apache Kafka in KRaft mode, one node, on the Java from a wheel."""

import base64
import secrets
import socket
import struct
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from worker.stack.errors import StackError
from worker.stack.home import LOOPBACK, Home, filled_atomically
from worker.stack.java import Java, java
from worker.stack.processes import run
from worker.stack.service import Service

SETTINGS_TEMPLATE = Path(__file__).parent / "broker.properties"
# Longer than a busy broker takes to answer: with 2 s, a broker that had just started was taken for hanging.
PROBE_SECONDS = 5.0
# Kafka's own command line, under the names of its shell scripts.
TOOLS = {
    "console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "topics": "org.apache.kafka.tools.TopicCommand",
}


class Broker(Service):
    """The Kafka broker of one home."""

    name = "kafka"
    ports = ("kafka", "kafka_controller")

    def __init__(
        self, home: Home, say: Callable[[str], None] = lambda _: None, *, aot_cache_to_write: Path | None = None
    ) -> None:
        """`aot_cache_to_write`: the file into which Java writes its AOT cache when this broker ends."""
        super().__init__(home)
        self._say = say
        self._aot_cache_to_write = aot_cache_to_write
        self._settings = self.folder / "server.properties"

    @cached_property
    def java(self) -> Java:
        """Java with Kafka's jars; cached, so that one start verifies the jars' hashes only once."""
        return java(self._say)

    def prepare(self) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / "tmp").mkdir(exist_ok=True)
        if (self.data / "meta.properties").exists():
            return
        with filled_atomically(self.data) as scratch:
            self._write_settings(scratch)
            cluster_id = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=").replace("-", "_")
            finished = run(
                [*self._java(), "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self._settings)],
                self.folder,
            )
            if finished.returncode != 0:
                raise StackError(f"Kafka could not prepare {self.data}: {_last_line(finished.stdout)}.")

    def command(self) -> list[str]:
        self._write_settings(self.data)
        return [*self._java(self._aot_cache_to_write), "kafka.Kafka", str(self._settings)]

    def accepts(self) -> bool:
        """Requests the list of brokers, as every client does first; it stays empty until this broker serves clients."""
        try:
            with socket.create_connection((LOOPBACK, self.home.port("kafka")), timeout=PROBE_SECONDS) as connection:
                # A Metadata request: version 4, correlation id 1, client "up", no topics, no topic creation.
                body = struct.pack(">hhih2si?", 3, 4, 1, 2, b"up", 0, False)
                connection.sendall(struct.pack(">i", len(body)) + body)
                with connection.makefile("rb") as stream:
                    _, correlation, _, brokers = struct.unpack(">iiii", stream.read(16))
                    return bool(correlation == 1 and brokers > 0)
        except (OSError, struct.error):
            return False

    def tool(self, name: str, arguments: list[str]) -> list[str]:
        """The command line of one of Kafka's own tools, pointed at this broker."""
        return [*self.java.command(), TOOLS[name], "--bootstrap-server", self.address, *arguments]

    def _java(self, aot_cache_to_write: Path | None = None) -> list[str]:
        options = (f"-Djava.io.tmpdir={self.folder / 'tmp'}", f"-Dsettlement.stack={self.mark}")
        if aot_cache_to_write:
            return self.java.command_writing_aot_cache(aot_cache_to_write, *options)
        return self.java.command(*options)

    def _write_settings(self, data: Path) -> None:
        client, controller = (self.home.port(name) for name in self.ports)
        settings = {
            "listeners": f"BROKER://{LOOPBACK}:{client},CONTROLLER://{LOOPBACK}:{controller}",
            "advertised.listeners": f"BROKER://{LOOPBACK}:{client}",
            "controller.quorum.voters": f"1@{LOOPBACK}:{controller}",
            "log.dirs": data.name,  # relative to its working folder: Kafka splits a path at a comma
        }
        lines = [f"{name}={value}" for name, value in settings.items()]
        self._settings.write_text(SETTINGS_TEMPLATE.read_text() + "\n" + "\n".join(lines) + "\n")


def _last_line(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip() and not line.startswith("\tat ")]
    return lines[-1].strip() if lines else "it printed nothing"
