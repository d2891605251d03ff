"""Tables in which no id is broken: columns that do not fit beside the others are written beneath them."""

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from worker.console.screen import cell, columns_of

GAP = "  "
BENEATH = "    "
HEAD_STYLE = "bright_black"
# In fewer columns the sentences of the last column are hard to read.
SENTENCE_COLUMNS_MIN = 24
LINES_AT_ONCE = 500


def show_table(
    console: Console, heads: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[str] = (),
    title: str = "", indent: int = 0,
) -> None:  # fmt: skip
    """Shows a table without borders; the columns named in `right` are aligned to the right.

    A terminal wraps only the last column, and only between words. Where there is no terminal, each row is one line.
    """
    cells = [[one if isinstance(one, Text) else cell("" if one is None else one) for one in row] for row in rows]
    table = _Table(heads, cells, right, columns_of(console), " " * indent)
    lines = [Text(title, style="bold")] if title else []
    lines += table.head()
    for row in cells:
        lines += table.row(row)
        if len(lines) >= LINES_AT_ONCE:  # rich needs too long for one text with the styles of all
            _print(console, lines)
            lines = []
    _print(console, lines)


def _print(console: Console, lines: list[Text]) -> None:
    if lines:
        console.print(Text("\n").join(lines), soft_wrap=True)


class _Table:
    """Draws a row, once it is known how wide the columns are and how many of them fit."""

    def __init__(
        self, heads: Sequence[str], rows: Sequence[Sequence[Text]], right: Sequence[str], columns: int | None,
        indent: str,
    ) -> None:  # fmt: skip
        self._heads = [Text(head, style=HEAD_STYLE) for head in heads]
        self._widths = [max([cell_len(head), *(row[at].cell_len for row in rows)]) for at, head in enumerate(heads)]
        self._right = [head in right for head in heads]
        self._columns = columns
        self._indent = indent
        self._beside = len(heads) if columns is None else _number_beside(self._widths, columns - len(indent))

    def head(self) -> Iterator[Text]:
        if any(head.plain for head in self._heads):
            yield from self._beside_each_other(self._heads)

    def row(self, cells: Sequence[Text]) -> Iterator[Text]:
        yield from self._beside_each_other(cells)
        for head, one in zip(self._heads[self._beside :], cells[self._beside :], strict=True):
            begin = Text(self._indent + BENEATH)
            if one is not cells[-1]:
                begin.append_text(head).append(" ")
            if one.plain:
                yield from self._wrapped(begin, one)

    def _beside_each_other(self, cells: Sequence[Text]) -> Iterator[Text]:
        begin = Text(self._indent)
        for at, one in enumerate(cells[: min(self._beside, len(cells) - 1)]):
            blanks = " " * (self._widths[at] - one.cell_len)
            if self._right[at]:
                begin.append(blanks).append_text(one).append(GAP)
            else:
                begin.append_text(one).append(blanks + GAP)
        if self._beside == len(cells):
            yield from self._wrapped(begin, cells[-1])
        else:
            begin.rstrip()
            yield begin

    def _wrapped(self, begin: Text, sentence: Text) -> Iterator[Text]:
        """The sentence after `begin`, its further lines under its first."""
        width = begin.cell_len
        for line in _lines(sentence.plain, None if self._columns is None else self._columns - width):
            begin.append(line, style=sentence.style)
            begin.rstrip()
            yield begin
            begin = Text(" " * width)


def _number_beside(widths: Sequence[int], room: int) -> int:
    """How many columns stand beside each other: all, if that leaves room for the sentences of the last one."""
    *others, last = widths
    taken = 0
    for number, width in enumerate(others):
        if taken + width > room:
            return max(1, number)
        taken += width + len(GAP)
    return len(widths) if taken + min(last, SENTENCE_COLUMNS_MIN) <= room else max(1, len(others))


def _lines(sentence: str, columns: int | None) -> list[str]:
    """Lines of at most so many columns. A longer word is not broken: the terminal does that, and copies it whole."""
    if columns is None:
        return [sentence]
    first, *words = sentence.split(" ")
    lines = [first]
    for word in words:
        if cell_len(lines[-1]) + 1 + cell_len(word) <= columns:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
