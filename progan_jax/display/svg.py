"""Line charts as SVG, and escaped pieces of HTML.

Charts have few ticks, and a title and a description for screen readers.
"""

import html
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass


def escape(text: object) -> str:
    """Returns a text as it may stand in HTML, between tags and in attributes."""
    return html.escape(str(text))


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table that scrolls sideways by itself where it is too wide.

    Args:
      caption: What it tells; also its name for who cannot see it.
      header: Of its columns.
      rows: Of texts; the first of each names the row.
    """
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "\n".join(f"<tr>{_cells(row)}</tr>" for row in rows)
    return (
        f'<figure class="table"><figcaption>{escape(caption)}</figcaption>\n'
        f'<div class="scroll" role="region" aria-label="{escape(caption)}" '
        f'tabindex="0"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div></figure>"
    )


def details(summary: str, body: str) -> str:
    """Returns what is folded until it is asked for."""
    return f"<details><summary>{escape(summary)}</summary>\n{body}\n</details>"


def facts(items: Iterable[tuple[str, str, str]]) -> str:
    """Returns a list of names, values and what is to be added in small print."""
    told = "\n".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}"
        f"<small>{escape(note)}</small></dd></div>"
        for name, value, note in items
    )
    return f'<dl class="facts">\n{told}\n</dl>'


def section(name: str, title: str, body: str) -> str:
    """Returns a section with its heading; `name` is its place in the page's address."""
    heading = f'<h2 id="{name}-title">{escape(title)}</h2>'
    return (
        f'<section id="{name}" aria-labelledby="{name}-title">\n{heading}\n{body}\n'
        "</section>"
    )


def paragraph(text: str) -> str:
    """Returns a paragraph."""
    return f"<p>{escape(text)}</p>"


def _cells(row: Sequence[str]) -> str:
    first, *rest = (escape(cell) for cell in row)
    return f'<th scope="row">{first}</th>' + "".join(f"<td>{c}</td>" for c in rest)


Point = tuple[float, float | None]

_WIDTH, _HEIGHT = 360, 220

_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 348, 20, 190

_MIDDLE = 0.98  # Share of the values that a chart must show.

_STRETCH = 3  # It shows the others, too, unless they would squeeze it so much.


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
      name: For the legend.
      points: Places and values; None leaves a gap.
      has_dots: Whether each point is marked.
    """

    name: str
    points: Sequence[Point]
    has_dots: bool = False

    def values(self) -> list[float]:
        """Returns the values that are there."""
        return [value for _, value in self.points if value is not None]


@dataclass(frozen=True)
class Chart:
    """Values against kimg.

    Attributes:
      title: What is shown.
      lines: At least one, with some value.
      stages: Where each stage begins, and its name.
      ticks: Values to be marked, and how they are written; round numbers if empty.
      is_log: Whether equal ratios are equally far apart; all values are positive then.
    """

    title: str
    lines: Sequence[Line]
    stages: Sequence[tuple[float, str]] = ()
    ticks: Sequence[tuple[float, str]] = ()
    is_log: bool = False

    def hidden(self) -> int:
        """Returns how many values lie beyond the edges."""
        low, high = _value_range(self)
        return sum(not low <= v <= high for line in self.lines for v in line.values())

    def describe(self) -> str:
        """Returns in words what the chart shows."""
        places = [x for line in self.lines for x, _ in line.points]
        told = [
            f"{line.name or self.title}: from {v[0]:.4g} to {v[-1]:.4g}, "
            f"lowest {min(v):.4g}, highest {max(v):.4g}."
            for line in self.lines
            if (v := line.values())
        ]
        return f"Against kimg, {min(places):g} to {max(places):g}. " + " ".join(told)


def draw(chart: Chart, name: str) -> str:
    """Returns a chart as SVG.

    Args:
      chart: What to draw.
      name: Of the element; no other of the page has it.
    """
    places = [x for line in chart.lines for x, _ in line.points]
    x_axis = _Axis(0, max(places) or 1, _LEFT, _RIGHT)
    y_axis = _Axis(*_value_range(chart), _BOTTOM, _TOP, chart.is_log)
    parts = [
        *_grid(chart, y_axis),
        *_stage_marks(chart, x_axis),
        *_x_labels(x_axis),
        f'<g clip-path="url(#{name}-clip)">',
        *(_line(line, n, x_axis, y_axis) for n, line in enumerate(chart.lines)),
        "</g>",
    ]
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc">\n'
        f'<title id="{name}-title">{escape(chart.title)}</title>'
        f'<desc id="{name}-desc">{escape(chart.describe())}</desc>\n'
        f'<clipPath id="{name}-clip"><rect x="{_LEFT}" y="{_TOP - 2}" '
        f'width="{_RIGHT - _LEFT + 4}" height="{_BOTTOM - _TOP + 4}"/></clipPath>\n'
        + "\n".join(parts)
        + "\n</svg>"
    )


def round_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Returns up to about `most` round numbers from low to high."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(s * magnitude for s in (1, 2, 5, 10) if s * magnitude >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [n * step for n in range(first, last + 1)]


def decade_ticks(low: float, high: float) -> list[float]:
    """Returns 1, 2 and 5 times powers of ten from low to high, or the powers alone."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1,) if high > 200 * low else (1, 2, 5)
    values = [factor * 10.0**power for power in powers for factor in factors]
    return [value for value in values if low <= value <= high]


@dataclass(frozen=True)
class _Axis:
    """Values from low to high, at places from start to end."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def place(self, value: float) -> str:
        low, high = self.low, self.high
        if self.is_log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        share = (value - low) / (high - low)
        # Far outside is as invisible as farther, and short to write.
        share = min(max(share, -5), 6)
        return f"{self.start + share * (self.end - self.start):.1f}"

    def ticks(self) -> list[float]:
        ticks = decade_ticks if self.is_log else round_ticks
        return ticks(self.low, self.high)


def _value_range(chart: Chart) -> tuple[float, float]:
    """Returns the lowest and the highest value that the chart shows."""
    values = sorted(v for line in chart.lines for v in line.values())
    values += [value for value, _ in chart.ticks]
    low, high = min(values), max(values)
    if chart.is_log:
        return low / 1.2, high * 1.2
    cut = int(len(values) * (1 - _MIDDLE) / 2)
    inner_low, inner_high = values[cut], values[-1 - cut]
    inner = inner_high - inner_low
    if cut and high - low > _STRETCH * inner > 0:
        low, high = max(low, inner_low - inner / 4), min(high, inner_high + inner / 4)
    if low == high:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    margin = (high - low) / 20
    return low - margin, high + margin


def _grid(chart: Chart, axis: _Axis) -> Iterator[str]:
    ticks = chart.ticks or [(v, f"{v:,.6g}") for v in axis.ticks()]
    for value, label in ticks:
        y = axis.place(value)
        kind = "zero" if value == 0 else "grid"
        yield f'<path class="{kind}" d="M{_LEFT} {y}H{_RIGHT}"/>'
        yield f'<text class="y" x="{_LEFT - 6}" y="{y}">{escape(_minus(label))}</text>'


def _x_labels(axis: _Axis) -> Iterator[str]:
    for value in axis.ticks():
        x = axis.place(value)
        yield f'<text class="x" x="{x}" y="{_BOTTOM + 15}">{value:,.6g}</text>'
    yield f'<text class="unit" x="{_RIGHT}" y="{_HEIGHT - 4}">kimg</text>'


def _stage_marks(chart: Chart, axis: _Axis) -> Iterator[str]:
    """Yields where the stages begin; names that would overlap are left out."""
    free = 0.0
    for kimg, name in chart.stages:
        x = float(axis.place(kimg))
        if kimg > 0:
            yield f'<path class="stage" d="M{x} {_TOP - 6}V{_BOTTOM}"/>'
        if x >= free:
            yield f'<text x="{x + 3:.1f}" y="{_TOP - 8}">{escape(name)}</text>'
            free = x + 8 + 6.5 * len(name)


def _line(line: Line, number: int, x_axis: _Axis, y_axis: _Axis) -> str:
    path, dots, pen = "", "", "M"
    for place, value in line.points:
        if value is None:
            pen = "M"
            continue
        x, y = x_axis.place(place), y_axis.place(value)
        path += f"{pen}{x} {y}"
        dots += f'<circle cx="{x}" cy="{y}" r="2.5"/>' if line.has_dots else ""
        pen = "L"
    return f'<g class="line line-{number % 6}"><path d="{path}"/>{dots}</g>'


def _minus(label: str) -> str:
    return label.replace("-", "\N{MINUS SIGN}")
