"""R3 and decision 6 as plain sums, written independently of the domain: who gets how much of a split payment.

Each settle, void and capture takes a part of what every recipient has still to receive, and of its commission; what
does not happen is given back. No settle takes more than was promised; what is captured beyond that is divided likewise.
"""

from fractions import Fraction


def divided(value: int, weights: list[int]) -> list[int]:
    """In proportion to the weights; the largest remainders are rounded up, ties in list order."""
    exact = [Fraction(value * weight, sum(weights) or 1) for weight in weights]
    parts = [int(one) for one in exact]
    for place in sorted(range(len(parts)), key=lambda place: parts[place] - exact[place])[: value - sum(parts)]:
        parts[place] += 1
    return parts


class Recipients:
    """Of each recipient, an amount and a commission."""

    def __init__(self, *pairs: tuple[int, int]) -> None:
        self.amounts, self.commissions = [one for one, _ in pairs], [two for _, two in pairs]
        self.promised = self.amounts

    @property
    def pairs(self) -> list[tuple[int, int]]:
        return [*zip(self.amounts, self.commissions, strict=True)]

    def take(self, value: int) -> "Recipients":
        """Takes a value away; returns each recipient's part."""
        left = [max(0, amount) for amount in self.amounts]
        beyond = max(0, value - sum(left))
        parts = map(sum, zip(divided(value - beyond, left), divided(beyond, self.promised), strict=True))
        of = zip(parts, left, self.commissions, strict=True)
        taken = Recipients(*((part, round(Fraction(along * min(part, most), most or 1))) for part, most, along in of))
        self.add(taken, -1)
        return taken

    def book(self, parts: "Recipients", done: int) -> None:
        """Of these parts what was not done is given back; what was done beyond them is taken too."""
        asked = sum(parts.amounts)
        parts.take(min(done, asked))
        self.add(parts)
        self.take(max(0, done - asked))

    def add(self, more: "Recipients", sign: int = 1) -> None:
        self.amounts = [one + sign * two for one, two in zip(self.amounts, more.amounts, strict=True)]
        self.commissions = [one + sign * two for one, two in zip(self.commissions, more.commissions, strict=True)]
