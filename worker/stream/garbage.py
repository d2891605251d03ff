"""Runs Python's garbage collector only between two poll cycles, when nearly everything that a cycle made is freed.

A cycle makes hundreds of thousands of values, hardly any of them in reference cycles, which are all that the collector
is needed for. By itself it would start when many values exist, in the middle of a cycle, and visit all of them for
nothing: a tenth of a worker's time.
"""

import gc

YOUNG_VALUES_MAX = 10_000
# As in Python itself: after so many collections of the youngest generation one of the middle one, then one of all.
YOUNG_COLLECTIONS_MAX, MIDDLE_COLLECTIONS_MAX = 20, 50


def collect_between_cycles_only() -> None:
    """Turns automatic collection off; the values that exist now are never visited again."""
    gc.disable()
    gc.freeze()


def collect_all() -> None:
    """Frees a lost session: all that it had read or had yet to publish hangs in reference cycles."""
    gc.collect()


def collect_if_due() -> None:
    """Collects once, if enough values were made and kept since the last collection."""
    young_values, young_collections, middle_collections = gc.get_count()
    if young_values > YOUNG_VALUES_MAX:
        younger = 1 if young_collections > YOUNG_COLLECTIONS_MAX else 0
        gc.collect(2 if middle_collections > MIDDLE_COLLECTIONS_MAX else younger)
