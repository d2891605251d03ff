"""The connectors file that is in force: the last one that could be read whole."""

from collections.abc import Mapping
from pathlib import Path

from worker import telemetry
from worker.connector.file import ConnectorsFile, ConnectorsFileError, load
from worker.settings import SettingsError

UNREADABLE = "connectors_file"


class ConnectorsInForce:
    """Read at the start, which fails without one, and again in `reload`."""

    def __init__(self, path: Path | None) -> None:
        if path is None:
            raise SettingsError(
                "CONNECTORS_FILE is missing: it takes the path of a TOML file that names the connectors"
            )
        self._path = path
        try:
            self.file: ConnectorsFile = load(path)
        except ConnectorsFileError as problem:
            raise SettingsError(f"CONNECTORS_FILE: {problem}") from None

    def reload(self) -> bool:
        """Whether a new file is in force; one that does not parse leaves the old one, and an alert until it does."""
        before = self.file
        try:
            self.file = load(self._path)
        except ConnectorsFileError as problem:
            telemetry.alert(UNREADABLE, problem=str(problem))
            return False
        telemetry.clear_alert(UNREADABLE)
        telemetry.log.info(
            "connectors file in force", connectors=sorted(self.file.connectors),
            changed=_changed(before.connectors, self.file.connectors),
            merchants_changed=_changed(before.merchants, self.file.merchants),
        )  # fmt: skip
        return True


def _changed(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """The names of tables that are new, gone or different. What stands in them is not logged."""
    return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
