"""The domain and a second, independent model of R26 count interest alike, to the last minor unit."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.both import DEEP, SHARED, Both, named, promised
from tests.property.reference_interest import Interest, Payment
from tests.unit.domain import scenario

RATES = st.sampled_from([0.1, 0.4, 0.5, 0.9, 1, 1.08, 1.1, 1.5, 3])
CHOSEN = st.tuples(st.integers(1, 400), RATES, st.sampled_from([0, 0, 2, 50]), SHARED)  # r, A to r, M above A
KINDS = ["done"] * 5 + ["sale"] * 4 + ["return"] * 3 + ["change"] * 3 + ["short", "declined", "last sale", "cancel"]
STEPS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(1, 200), st.integers(0, 3)), max_size=20)


class WithInterest(Both):
    COMMAND = Both.COMMAND | {"x": "reference"}
    rules: Interest

    def __init__(self, payments: list[tuple[int, float, int, list[int]]], more: int) -> None:
        chosen = []
        for name, (reference, rate, above, shared) in zip("abc", payments, strict=False):
            value = max(1, round(reference * rate))
            chosen.append(Payment(name, value, reference, value + above, recipients=promised(value, shared)))
        total = max(1, sum(payment.r for payment in chosen) + more)
        authorized = (
            scenario.pay(one.name, one.A, reference=one.r, cap=one.M, by="split", recipients=named(one.recipients))
            for one in chosen
        )
        super().__init__(Interest(total, chosen), *authorized)

    def step(self, kind: str, value: int, which: int) -> None:
        match kind:
            case "done" | "short" | "declined":
                if open_ := [command for command in self.rules.commands if not command.ended]:
                    first = list({command.payment: command for command in reversed(open_)}.values())
                    command = first[which % len(first)]
                    if command.operation != "settle" or kind == "done":
                        done = command.value
                    else:
                        done = min(value, command.value) if kind == "short" else 0
                    self.rules.answered(command, done)
                    self.outcome("succeeded" if done else "declined", command, done)
            case _:
                super().step(kind, value, which)


@settings(max_examples=500 * DEEP, deadline=None, derandomize=DEEP == 1)
@given(st.lists(CHOSEN, min_size=1, max_size=3), st.integers(-2, 4), STEPS)
def test_every_history_with_interest_is_decided_like_the_reference_model(
    payments: list[tuple[int, float, int, list[int]]], more: int, steps: list[tuple[str, int, int]]
) -> None:
    both = WithInterest(payments, more)
    for step in steps:
        both.step(*step)
