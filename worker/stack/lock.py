"""Renews `broker.lock`: `python -m worker.stack.lock`. It holds hashes and no addresses, so any mirror will do."""

import tempfile
from pathlib import Path
from typing import Any

from jgo.maven import MavenContext

from worker.stack.jars import LOCK_FILE, sha256_of

BROKER = ("org.apache.kafka", "kafka_2.13", "4.3.1")
# Kafka's own command line tools, without their dependencies: only Kafka Connect, which is not run here, needs those.
TOOLS = ("org.apache.kafka", "kafka-tools")
# The broker logs through SLF4J; this binding writes the lines, in the version of the broker's log4j.
LOGGING = ("org.apache.logging.log4j", "log4j-slf4j-impl")


def main() -> None:
    """Writes every jar that the broker needs at run time, with its hash."""
    with tempfile.TemporaryDirectory() as scratch:
        context = MavenContext(repo_cache=Path(scratch))
        _, dependencies = context.resolver.resolve([context.create_dependency(":".join(BROKER))])
        group, artifact, version = BROKER
        artifacts: list[Any] = [context.project(group, artifact).at_version(version).artifact()]
        artifacts += [dependency.artifact for dependency in dependencies if dependency.scope in ("compile", "runtime")]
        log4j = next(jar.version for jar in artifacts if jar.artifactId == "log4j-core")
        artifacts.append(context.project(*LOGGING).at_version(log4j).artifact())
        artifacts.append(context.project(*TOOLS).at_version(version).artifact())
        lines = sorted(
            f"{jar.groupId}:{jar.artifactId}:{jar.version} {sha256_of(Path(jar.resolve()))}" for jar in artifacts
        )
    text = "".join(f"{sha256}  {coordinate}\n" for coordinate, sha256 in (line.split() for line in lines))
    LOCK_FILE.write_text(
        f"# SHA-256 and coordinate of every jar that the broker and its tools run on; renewed by `make lock`.\n{text}"
    )


if __name__ == "__main__":
    main()
