"""Reads the plans that PostgreSQL explains in JSON."""

from collections.abc import Iterator
from typing import Any


def nodes(root: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The node and all nodes below it."""
    yield root
    for child in root.get("Plans", ()):
        yield from nodes(child)


def rows_read(node: dict[str, Any]) -> float:
    """The number of rows that this node read from its table; 0 for a node without one."""
    if "Relation Name" not in node:
        return 0
    return float(node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)))
