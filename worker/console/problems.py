"""Ends a command that failed: with one sentence and an exit code, never a traceback."""

from typing import NoReturn

from worker.console.screen import err, show

FAILED, USAGE = 1, 2


def fail(sentence: str, code: int = FAILED) -> NoReturn:
    """Prints the sentence on standard error and exits."""
    show(err(), f"settlement: {sentence}")
    raise SystemExit(code) from None
