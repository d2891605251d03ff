"""When Python looks for circles of dead values: between cycles, when nearly everything that a cycle made is gone.

A cycle makes hundreds of thousands of values, hardly any of them in a circle. Python's own moment to look is when many
were made, the middle of a cycle, where it visits all of them for nothing: a tenth of a worker's time.
"""

import gc

YOUNG_VALUES_MAX = 10_000
# As Python does it: so many looks at what is new for one at what is older, and for one at everything.
YOUNG_LOOKS_MAX, MIDDLE_LOOKS_MAX = 20, 50


def look_between_cycles() -> None:
    """From here on nobody looks but `look`; what the program has made so far is left out for good."""
    gc.disable()
    gc.freeze()


def look() -> None:
    """One look, if enough was made and kept since the last one."""
    young, young_looks, middle_looks = gc.get_count()
    if young > YOUNG_VALUES_MAX:
        gc.collect(2 if middle_looks > MIDDLE_LOOKS_MAX else 1 if young_looks > YOUNG_LOOKS_MAX else 0)
