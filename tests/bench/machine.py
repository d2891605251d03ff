"""Describes the machine of a measurement in one line."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import psutil


def describe() -> str:
    """The processor, memory, kernel, Python, and the drivers of Kafka and PostgreSQL."""
    memory = psutil.virtual_memory().total / (1 << 30)
    return (
        f"{os.cpu_count()} cores of {_processor()}, {memory:.0f} GiB, {platform.system()} {platform.release()}; "
        f"Python {platform.python_version()}, asyncpg {version('asyncpg')}, aiokafka {version('aiokafka')}; "
        "broker, database and load on the same cores; fsync and synchronous_commit on"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
