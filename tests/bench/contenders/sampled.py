"""The ledger worker with a sampling profiler: one sample for every two milliseconds of processor time.

When the worker ends, the samples per part and the processor seconds are written to the file named by `PROFILE`.
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
# The innermost frame whose file is listed here determines the part.
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

samples: Counter[str] = Counter()


def take_sample(_signal: int, frame: FrameType | None) -> None:
    while frame is not None:
        file = frame.f_code.co_filename
        for path, part in PARTS.items():
            if path in file:
                samples[part] += 1
                return
        frame = frame.f_back
    samples[OTHER] += 1


if __name__ == "__main__":
    signal.signal(signal.SIGPROF, take_sample)
    signal.setitimer(signal.ITIMER_PROF, EVERY_SECONDS, EVERY_SECONDS)
    try:
        main(sys.argv[1:])
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        used = os.times()
        profile = {"samples": samples, "seconds": used.user + used.system}
        Path(os.environ["PROFILE"]).write_text(json.dumps(profile), encoding="utf-8")
