"""Draws charts as SVG, readable on a light and on a dark page."""

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from tests.bench.rounds import Figure

WIDTH, LABEL, RIGHT = 760, 190, 150
BAR, GAP, HEAD = 26, 14, 48
LINES_HEIGHT, MARGIN = 320, 56

_STYLE = """<style>
  text { font: 14px system-ui, sans-serif; fill: #1f2328 }
  .title { font-weight: 600 } .soft { fill: #59636e; font-size: 12px }
  .bar { fill: #0969da } .other { fill: #8c959f } .range, .grid { stroke: #1f2328; stroke-width: 1.5 }
  .grid { stroke-width: .5; opacity: .25 }
  .line { fill: none; stroke-width: 2 } .c0 { stroke: #0969da; fill: #0969da } .c1 { stroke: #bf8700; fill: #bf8700 }
  .c2 { stroke: #1a7f37; fill: #1a7f37 } text.c0, text.c1, text.c2 { stroke: none } path.line { fill: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .soft { fill: #9198a1 } .bar { fill: #4493f8 } .other { fill: #656c76 }
    .range, .grid { stroke: #e6edf3 } .c0 { stroke: #4493f8; fill: #4493f8 } .c1 { stroke: #d29922; fill: #d29922 }
    .c2 { stroke: #3fb950; fill: #3fb950 }
  }
</style>"""


def bars(title: str, unit: str, figures: Mapping[str, Figure], ours: str) -> str:
    """A bar chart of medians, with whiskers from minimum to maximum; the bar named `ours` is coloured."""
    scale = (WIDTH - LABEL - RIGHT) / max(figure.high for figure in figures.values())
    parts = []
    for place, (name, figure) in enumerate(figures.items()):
        top = HEAD + place * (BAR + GAP)
        middle, kind = top + BAR / 2, "bar" if name == ours else "other"
        low, high = LABEL + figure.low * scale, LABEL + figure.high * scale
        ends = f"M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 5}v10M{high:.1f} {middle - 5}v10"
        parts += [
            _text(LABEL - 10, middle + 5, name, anchor="end"),
            f'<rect class="{kind}" x="{LABEL}" y="{top}" width="{figure.median * scale:.1f}" height="{BAR}" rx="3"/>',
            f'<path class="range" d="{ends}"/>',
            _text(high + 8, middle + 5, f"{figure.median:,.0f}"),
        ]
    return _svg(HEAD + len(figures) * (BAR + GAP), title, unit, parts)


def lines(title: str, unit: str, across: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """A chart of up to three lines; both axes begin at zero."""
    right = max(x for points in series.values() for x, _ in points)
    top = max(y for points in series.values() for _, y in points) * 1.1 or 1.0
    width, height = WIDTH - 2 * MARGIN, LINES_HEIGHT - HEAD - MARGIN
    floor = HEAD + height

    def at(x: float, y: float) -> str:
        return f"{MARGIN + x / right * width:.1f} {floor - y / top * height:.1f}"

    parts = []
    for step in range(5):
        y = floor - height * step / 4
        parts.append(f'<path class="grid" d="M{MARGIN} {y:.1f}h{width}"/>')
        parts.append(_text(MARGIN - 8, y + 4, f"{top * step / 4:,.4g}", "soft", "end"))
    for place, (name, points) in enumerate(series.items()):
        parts.append(f'<path class="line c{place}" d="M{"L".join(at(x, y) for x, y in points)}"/>')
        parts.append(_text(WIDTH - MARGIN, HEAD + 14 + 18 * place, name, f"c{place}", "end"))
    parts += [
        _text(MARGIN, floor + 20, "0", "soft"),
        _text(WIDTH - MARGIN, floor + 20, f"{right:,.0f}", "soft", "end"),
        _text(WIDTH / 2, floor + 36, across, "soft", "middle"),
    ]
    return _svg(LINES_HEIGHT, title, unit, parts)


def _text(x: float, y: float, content: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(content)}</text>'


def _svg(height: float, title: str, unit: str, parts: Sequence[str]) -> str:
    shape = f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}"'
    head = [_text(10, 24, title, "title"), _text(WIDTH - 10, 24, unit, "soft", "end")]
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {shape}>', _STYLE, *head, *parts, "</svg>\n"])
