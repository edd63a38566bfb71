"""Line charts, drawn by Matplotlib, which is imported at the first chart."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Points = Sequence[tuple[float, float | None]]  # Place and value; None leaves a gap.

# Contrast of at least 4.5 with white; page.css inverts the charts of a dark page.
COLOURS = ("#1f5f9e", "#b4530a", "#3d7a3a", "#8a4a94", "#8a6d00", "#a23b48")

INK, _RULE = "#5a626d", "#cccccc"

LARGEST = 1e100  # Larger numbers overflow within Matplotlib.

_DASHES: Any = ("-", (0, (6, 3)), (0, (2, 2)), (0, (8, 3, 2, 3)), (0, (12, 4)))

_STYLE: Any = {
    "axes.edgecolor": _RULE,
    "axes.formatter.limits": (-4, 6),
    "axes.formatter.useoffset": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 11,
    "grid.color": _RULE,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "svg.fonttype": "none",  # Text and not curves, a tenth of the size.
    "svg.hashsalt": "",  # The same ids each time.
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}

# In points, of which the page shows one as about one pixel.
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM, _ROW = 360, 172, 50, 8, 20, 32, 15


@dataclass(frozen=True)
class Chart:
    """Values against kimg.

    Attributes:
      title: What is shown.
      lines: By name; at least one, with some value.
      stages: Where each stage begins, in kimg, and its name.
      ticks: Values to mark on the vertical axis; chosen by Matplotlib if empty.
      is_log: Whether the vertical axis is logarithmic, if all values are positive.
      has_dots: Whether each point is marked.
    """

    title: str
    lines: Mapping[str, Points]
    stages: Sequence[tuple[float, str]] = ()
    ticks: Sequence[float] = ()
    is_log: bool = False
    has_dots: bool = False

    def values(self) -> list[float]:
        """Returns the values of all lines that can be drawn."""
        points = (point for line in self.lines.values() for point in line)
        return [v for _, v in points if v is not None and abs(v) < LARGEST]

    def describe(self) -> str:
        """Returns the alternative text of the picture."""
        places = [x for points in self.lines.values() for x, _ in points]
        lines = [
            f"{name}: from {v[0]:.4g} to {v[-1]:.4g}, lowest {min(v):.4g}, highest "
            f"{max(v):.4g}."
            for name, points in self.lines.items()
            if (v := [value for _, value in points if value is not None])
        ]
        span = f"{min(places):g} to {max(places):g}"
        return f"{self.title} against kimg, {span}. {' '.join(lines)}"


def draw(chart: Chart) -> str:
    """Returns a chart as SVG with a transparent background."""
    import matplotlib
    from matplotlib.figure import Figure

    names = [] if list(chart.lines) == [chart.title] else list(chart.lines)
    top = _TOP + _ROW * -(-len(names) // 2)
    width, height = _WIDTH, _HEIGHT + top + _BOTTOM
    box = _LEFT / width, _BOTTOM / height, 1 - (_LEFT + _RIGHT) / width
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width / 72, height / 72))
        axes = figure.add_axes((*box, _HEIGHT / height))
        draw_lines(axes, chart.lines.items(), "." if chart.has_dots else "")
        axes.set_xlim(left=0)
        axes.locator_params(nbins=4)
        figure.text(1 - _RIGHT / width, 4 / height, "kimg", ha="right")
        _set_vertical_axis(axes, chart)
        _mark_stages(axes, chart.stages)
        if names:
            figure.legend(loc="upper left", ncols=2, borderpad=0, labelspacing=0.1)
        buffer = io.StringIO()
        omitted = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=omitted)
    return buffer.getvalue()


def draw_lines(
    axes: Any, lines: Iterable[tuple[str, Points]], marker: str = "."
) -> None:
    """Draws lines; those of one name share a colour and an entry of the legend.

    Numbers that are not finite, or not below LARGEST, leave gaps.
    """
    numbers: dict[str, int] = {}
    for name, points in lines:
        label = None if name in numbers else name
        number = numbers.setdefault(name, len(numbers))
        numbered = np.array(points, float).reshape(-1, 2)
        x, y = np.where(np.abs(numbered) < LARGEST, numbered, np.nan).T
        axes.plot(
            x,
            y,
            color=COLOURS[number % len(COLOURS)],
            linestyle=_DASHES[number % len(_DASHES)],
            marker=marker,
            label=label,
        )


def use_logarithm(axes: Any) -> None:
    """Makes the vertical axis logarithmic, its ticks labelled as 60, not 6 x 10^1."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(
        LogLocator(subs=(1,) if high > 200 * low else (1, 2, 5))
    )
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def _set_vertical_axis(axes: Any, chart: Chart) -> None:
    values = chart.values()
    if chart.is_log and min(values) > 0:
        use_logarithm(axes)
    else:
        # Losses begin with a few extreme values, which would squeeze all others.
        low, high = np.percentile(values, (1, 99))
        least, most, span = min(values), max(values), high - low
        if most - least > 3 * span > 0:
            axes.set_ylim(max(least, low - span / 4), min(most, high + span / 4))
    if chart.ticks:
        axes.set_yticks(chart.ticks, labels=[f"{tick:g}" for tick in chart.ticks])


def _mark_stages(axes: Any, stages: Sequence[tuple[float, str]]) -> None:
    """Marks where the stages begin; names that would overlap are left out."""
    end, free = axes.get_xlim()[1], 0.0
    for kimg, name in stages:
        if kimg > 0:
            axes.axvline(kimg, color=INK, linestyle=":", linewidth=0.8)
        if kimg >= free:
            at = axes.get_xaxis_transform()
            axes.text(kimg, 1.02, name, transform=at, fontsize="small")
            free = kimg + end * 0.03 * (1 + len(name))
