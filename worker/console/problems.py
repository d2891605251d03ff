"""How a command ends that did not do what it was asked for: one sentence, and never a traceback."""

from typing import NoReturn

from worker.console.screen import err, show

FAILED, USAGE, STOPPED = 1, 2, 130


def fail(sentence: str, code: int = FAILED) -> NoReturn:
    """One sentence on standard error, and an exit code."""
    show(err(), f"settlement: {sentence}")
    raise SystemExit(code) from None
