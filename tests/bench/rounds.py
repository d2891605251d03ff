"""Rounds that alternate: what is compared is measured in turn, so that a noisy minute hits everyone alike."""

import statistics
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field


@dataclass
class Figure:
    """What several rounds gave: the median speaks, minimum and maximum say how much it is worth."""

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
        """Round by round, since both were measured in the same minutes."""
        return Figure([mine / theirs for mine, theirs in zip(self.values, other.values, strict=True)])


Measure = Callable[[int], Awaitable[float]]


async def alternate(contenders: Mapping[str, Measure], rounds: int) -> dict[str, Figure]:
    """Each contender once per round, the first one changing from round to round."""
    figures = {name: Figure() for name in contenders}
    names = list(contenders)
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            value = await contenders[name](number)
            figures[name].values.append(value)
            print(f"  round {number + 1}, {name}: {value:,.0f}", flush=True)
    return figures
