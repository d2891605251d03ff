"""What a rule answers to a fact."""

from typing import Literal

from worker.domain.decision import Refusal

Verdict = Literal["applied", "duplicate", "parked"] | Refusal


def refused(rule: str, reason: str) -> Refusal:
    return Refusal("rejected", rule, f"{reason} ({rule})")


def conflict(reason: str) -> Refusal:
    """The same business key with other content (R8)."""
    return Refusal("conflicting_duplicate", "R8", f"{reason} (R8)")
