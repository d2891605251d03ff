"""The window holds the earliest of the waiting commands in memory, and misses none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.delivery import window as module
from worker.delivery.window import Key, Window

MAX = 8


@pytest.fixture(autouse=True, scope="module")
def _small_window():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "COMMANDS_MAX", MAX)
        patch.setattr(module, "COMMANDS_LOW", MAX // 2)
        yield


def _page(after: Key, table: set[Key], limit: int) -> list[Key]:
    return sorted(key for key in table if key > after)[:limit]


def refill(window: Window, table: set[Key]) -> None:
    if asked := window.lacking():
        window.refill(window.reach, _page(window.reach, table, asked), asked)


@given(st.lists(st.tuples(st.sampled_from(["new", "later", "send", "clear"]), st.integers(0, 30))))
def test_commands_leave_in_the_order_of_their_due_times(steps: list[tuple[str, int]]):
    window, table = Window(), set[Key]()
    for number, (step, due_ms) in enumerate(steps):
        if step == "new":
            key = (due_ms, f"c{number}")
            table.add(key)
            window.enter(key)
        if step == "clear":
            window.forget()
        refill(window, table)
        assert len(window) <= 2 * MAX
        if step in ("send", "later") and table:
            first = min(table)
            assert window.first_ms() == first[0]
            assert window.pop(first[0] - 1) is None
            assert window.pop(first[0]) == first[1]
            table.remove(first)
            if step == "later":
                key = (first[0] + due_ms, first[1])
                table.add(key)
                window.enter(key)


def test_a_full_window_leaves_new_commands_in_the_table():
    window, table = Window(), {(due_ms, "c") for due_ms in range(100)}
    refill(window, table)

    for number in range(1_000):
        window.enter((200 + number, "new"))

    assert len(window) == MAX


def test_a_complete_window_does_not_read_the_table():
    window = Window()
    refill(window, {(1, "a")})

    assert window.lacking() == 0
    assert window.pop(1) == "a"
    assert window.lacking() == 0


def test_a_window_cleared_during_a_read_of_the_table_misses_no_command():
    window, table = Window(), {(due_ms, "c") for due_ms in range(100)}
    refill(window, table)
    while window.first_ms() != MAX // 2 + 1:
        window.pop(100)
        table.remove(min(table))
    asked, after = window.lacking(), window.reach
    page = _page(after, table, asked)

    window.forget()
    window.refill(after, page, asked)
    refill(window, table)

    assert window.pop(100) == "c"
    assert window.first_ms() == MAX // 2 + 2
