"""Finds the black-box harness: a program outside the project that plays cases against the whole of it.

Run as a program, it prints whether the cases can be played; `make test` ends with it.
"""

import os
from pathlib import Path

PROJECT = Path(__file__).parents[2]
HARNESS = Path(os.environ.get("ACCEPTANCE_DIR") or PROJECT.parent / "shared" / "acceptance")


def missing() -> str | None:
    """A sentence if the harness is missing."""
    if (HARNESS / "run.py").exists():
        return None
    return f"The black-box cases were NOT RUN: {HARNESS} has no run.py; ACCEPTANCE_DIR names the harness's folder."


if __name__ == "__main__":
    print(missing() or "The black-box cases were run.")
