"""Measures the contenders of a comparison in alternating rounds, so that a noisy minute affects all of them alike."""

import statistics
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field


@dataclass
class Figure:
    """The results of several rounds: their median, and minimum and maximum, which show how reliable it is."""

    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)

    def __str__(self) -> str:
        return f"{self.median:,.0f} ({self.low:,.0f}–{self.high:,.0f})"

    def ratio_to(self, other: "Figure") -> "Figure":
        """The ratios round by round, since both were measured in the same minutes."""
        return Figure([mine / theirs for mine, theirs in zip(self.values, other.values, strict=True)])


Measure = Callable[[int], Awaitable[float]]


async def alternate(contenders: Mapping[str, Measure], rounds: int) -> dict[str, Figure]:
    """Measures each contender once per round; each round begins with the next contender."""
    figures = {name: Figure() for name in contenders}
    names = list(contenders)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            value = await contenders[name](number)
            figures[name].values.append(value)
            print(f"  round {number + 1}, {name}: {value:,.0f}", flush=True)
    return figures
