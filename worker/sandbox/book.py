"""The sandbox connector's own book: every request and every effect, append-only, in memory and optionally in a file."""

import json
from pathlib import Path
from typing import Any

Json = dict[str, Any]


class Book:
    """What the connector has really received and done, whatever it answered."""

    def __init__(self, path: Path | None = None) -> None:
        self.requests: list[Json] = []
        self.effects: list[Json] = []
        self._by_request: dict[tuple[str, str], Json] = {}
        self._file = None
        if path is not None:
            for line in path.read_text("utf-8").splitlines() if path.exists() else ():
                self._add(json.loads(line))
            self._file = path.open("a", encoding="utf-8", buffering=1)

    def record_request(self, entry: Json) -> None:
        self._append({"kind": "request", **entry})

    def record_effect(self, entry: Json, forgetful: bool = False) -> Json:
        """Moves the money once per request id and returns that effect; if `forgetful`, moves it again."""
        key = entry["paymentId"], entry["requestId"]
        if (earlier := self._by_request.get(key)) is not None and not forgetful:
            return earlier
        entry = {"kind": "effect", **entry, "operationId": f"{entry['operation']}-{len(self.effects) + 1}"}
        self._append(entry)
        return entry

    def as_json(self) -> Json:
        return {"requests": self.requests, "effects": self.effects}

    def _append(self, entry: Json) -> None:
        self._add(entry)
        if self._file is not None:
            self._file.write(json.dumps(entry) + "\n")

    def _add(self, entry: Json) -> None:
        if entry["kind"] == "request":
            self.requests.append(entry)
        else:
            self.effects.append(entry)
            self._by_request.setdefault((entry["paymentId"], entry["requestId"]), entry)
