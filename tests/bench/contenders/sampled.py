"""The ledger worker, with a look every two milliseconds of its processor time at what it is doing.

`PROFILE` names the file that gets the looks per part of the way, and the processor seconds, when the worker ends.
"""

import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

from worker.cli import main

EVERY_SECONDS = 0.002
STARTING = "starting"
# The innermost frame that lies in one of these places names the part.
PARTS = {
    "worker/domain/published.py": "putting it into words",
    "worker/ledger/publishing.py": "putting it into words",
    "worker/domain/": "deciding",
    "worker/ledger/reading.py": "reading facts",
    "worker/kafka/envelope.py": "reading facts",
    "worker/ledger/": "gathering rows",
    "worker/stream/": "outbox and cycle",
    "worker/kafka/": "Kafka's client",
    "/aiokafka/": "Kafka's client",
    "/asyncpg/": "the database's driver",
    "<frozen importlib": STARTING,
}
OTHER = "event loop and the rest"

looks: Counter[str] = Counter()


def look(_signal: int, frame: FrameType | None) -> None:
    while frame is not None:
        place = frame.f_code.co_filename
        for known, part in PARTS.items():
            if known in place:
                looks[part] += 1
                return
        frame = frame.f_back
    looks[OTHER] += 1


if __name__ == "__main__":
    signal.signal(signal.SIGPROF, look)
    signal.setitimer(signal.ITIMER_PROF, EVERY_SECONDS, EVERY_SECONDS)
    try:
        main(sys.argv[1:])
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        used = os.times()
        found = {"looks": looks, "seconds": used.user + used.system}
        Path(os.environ["PROFILE"]).write_text(json.dumps(found), encoding="utf-8")
