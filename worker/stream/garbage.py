"""When Python's garbage collector runs: between two poll cycles, when nearly everything a cycle made is already freed.

A cycle makes hundreds of thousands of values, hardly any of them in reference cycles, which are all that the collector
is needed for. By itself it would start when many values exist, in the middle of a cycle, and visit all of
them for nothing: a tenth of a worker's time.
"""

import gc

YOUNG_VALUES_MAX = 10_000
# As in Python itself: after so many collections of the youngest values one of the middle ones, then one of all.
YOUNG_LOOKS_MAX, MIDDLE_LOOKS_MAX = 20, 50


def look_between_cycles() -> None:
    """From here on only `look` collects; what the program has made so far is never visited again."""
    gc.disable()
    gc.freeze()


def clear_away() -> None:
    """After a session was lost: all that it had read or had yet to send is tied up in reference cycles."""
    gc.collect()


def look() -> None:
    """One collection, if enough values were made and kept since the last one."""
    young, young_looks, middle_looks = gc.get_count()
    if young > YOUNG_VALUES_MAX:
        gc.collect(2 if middle_looks > MIDDLE_LOOKS_MAX else 1 if young_looks > YOUNG_LOOKS_MAX else 0)
