"""Which setting was meant by a variable whose name is mistyped."""

import re
from collections.abc import Collection

# Names with these prefixes are ours: one that we do not know is a typing error, not somebody else's variable.
OUR_PREFIXES = (
    "CONNECTORS_", "EXPIRY_", "KAFKA_BOOTSTRAP", "KAFKA_SASL_", "KAFKA_SECURITY_", "KAFKA_SSL_", "OPS_",
    "PARKING_", "SETTLEMENT_", "TOPIC_",
)  # fmt: skip
# Kubernetes describes every service of the namespace in such variables; a service may well be called `ops`.
_SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT\w*)$|_PORT_\d+_(TCP|UDP)\w*$|_PORT$")


def mistyped(given: Collection[str], names: Collection[str]) -> tuple[str, str] | None:
    """The first variable that is none of our settings and was meant to be one, and the one that it was meant to be."""
    free = sorted(set(names).difference(given))
    for name in sorted(given):
        known = name.removesuffix("_FILE")
        if name in names or known in names or _SERVICE_LINK.search(name):
            continue
        if name.startswith(OUR_PREFIXES):
            return name, min(names, key=lambda ours: (_distance(ours, known), ours))
        for ours in free:
            if _is_typing_error(name, ours) or _is_typing_error(known, ours):
                return name, ours
    return None


def _is_typing_error(name: str, ours: str) -> bool:
    """One letter off. Names without an underscore (LOGLEVEL) belong to others."""
    return abs(len(name) - len(ours)) <= 1 and "_" in name and _distance(name, ours) == 1


def _distance(one: str, other: str) -> int:
    """Edits between two names; a swap of neighbours is one."""
    rows = [list(range(len(other) + 1))]
    for i, left in enumerate(one, 1):
        row = [i]
        for j, right in enumerate(other, 1):
            cost = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (left != right))
            if i > 1 and j > 1 and left == other[j - 2] and one[i - 2] == right:
                cost = min(cost, rows[-2][j - 2] + 1)
            row.append(cost)
        rows.append(row)
    return rows[-1][-1]
