"""The connectors file that is in force: the last one that could be read whole."""

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
        try:
            self.file = load(self._path)
        except ConnectorsFileError as problem:
            telemetry.alert(UNREADABLE, problem=str(problem))
            return False
        telemetry.clear_alert(UNREADABLE)
        return True
