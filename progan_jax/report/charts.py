"""Which curves of a run its report shows, each with its numbers beside."""

from collections.abc import Iterator, Mapping, Sequence

from progan_jax.progress import Progress
from progan_jax.report.markup import details, escape, table
from progan_jax.report.records import Row, RunRecord, condense
from progan_jax.report.svg import Chart, Line, draw

# Titles, and what they are drawn of, by its name in stats.jsonl.
_CURVES: Mapping[str, Mapping[str, str]] = {
    "Losses": {"Loss/d_loss": "D", "Loss/g_loss": "G"},
    "Scores that D gives": {"Loss/real_scores": "reals", "Loss/fake_scores": "fakes"},
    "Norm of D's gradient": {"Loss/mixed_norms": "between reals and fakes"},
    "Spread of a batch, as D sees it": {
        "Health/stddev_reals": "reals",
        "Health/stddev_fakes": "fakes",
    },
    "Class terms of the losses": {
        "Loss/label_penalty_reals": "reals",
        "Loss/label_penalty_fakes": "fakes",
    },
    "Noise in D's layers": {"Health/noise_strength": ""},
    "Updates skipped": {"Health/skipped": ""},
    "Images per second": {"Timing/img_per_sec": ""},
}
_MOST_TICKS = 300
_SWD = "Sliced Wasserstein distance x 1e3"
# Levels of one distance stand in one chart.
_LEVELS = {"swd_": _SWD, "stage_swd_": f"{_SWD}, as stages end"}
_TITLES = {"ms_ssim": "MS-SSIM", "fid": "FID", "sfid": "sFID", "rfid": "rFID"}
# What differs by factors, stage by stage or level by level.
_LOGARITHMIC = ("Images per second", *_LEVELS.values())


def training_charts(record: RunRecord) -> str:
    """Returns the curves of the ticks."""
    rows = condense(record.rows, _MOST_TICKS)
    charts = [_of_ticks(rows, title, names) for title, names in _CURVES.items()]
    return _show([c for c in charts if c is not None], "ticks")


def ticks_per_point(record: RunRecord) -> int:
    """Returns how many ticks a point of the curves is the mean of."""
    return -(-len(record.rows) // _MOST_TICKS)


def schedule_chart(record: RunRecord) -> str:
    """Returns the stages and their fades: as far as the run has come, and the rest.

    A run that does not grow has no such chart.
    """
    sides = [stage.resolution for stage in record.schedule.stages()]
    if len(sides) == 1:
        return ""
    shown = [(0.0, float(sides[0])), *_sides_shown(record.rows)]
    lines = [Line("shown", shown)]
    if not record.is_finished:
        lines.append(Line("planned", [shown[-1], *_planned(record)]))
    ticks = [(float(side), str(side)) for side in sides]
    chart = Chart("Resolution, with its fades", lines, ticks=ticks, is_log=True)
    return _show([chart], "schedule")


def metric_charts(record: RunRecord) -> str:
    """Returns the figures of the snapshots; the levels of the SWD in one chart."""
    names = shown_figures(record.progress)
    charts = []
    for prefix, title in _LEVELS.items():
        levels = [name for name in names if name.startswith(prefix)]
        charts.append(_of_figures(record, title, levels))
    for name in names:
        if not name.startswith(tuple(_LEVELS)):
            charts.append(_of_figures(record, title_of(name), [name]))
    return _show([c for c in charts if c is not None], "metrics")


def shown_figures(progress: Progress) -> list[str]:
    """Returns the names of the figures, but for deviations and shares of classes."""
    names = progress.names()
    return [n for n in names if not n.endswith("_std") and "_share_" not in n]


def title_of(figure: str) -> str:
    """Returns a figure's name for people."""
    title = figure.removesuffix("_mean").replace("_", " ")
    return _TITLES.get(figure, title.replace("swd", "SWD").replace("kid", "KID"))


def _of_ticks(
    rows: Sequence[Row], title: str, names: Mapping[str, str]
) -> Chart | None:
    lines = []
    for name, label in names.items():
        points = [(row["Progress/kimg"], row.get(name)) for row in rows]
        if any(value for _, value in points):
            lines.append(Line(label, points))
    return _chart(title, lines, rows)


def _of_figures(record: RunRecord, title: str, names: Sequence[str]) -> Chart | None:
    points, floor = record.progress.points, record.progress.floor
    lines = [
        Line(
            title_of(n) + (f" (reals {floor[n]:.4g})" if n in floor else ""),
            [(p.kimg, p.figures[n]) for p in points if n in p.figures],
            has_dots=True,
        )
        for n in names
    ]
    return _chart(title, lines, record.rows)


def _chart(title: str, lines: Sequence[Line], rows: Sequence[Row]) -> Chart | None:
    if not any(line.values() for line in lines):
        return None
    lowest = min(value for line in lines for value in line.values())
    is_log = title in _LOGARITHMIC and lowest > 0
    return Chart(title, lines, _stage_starts(rows), is_log=is_log)


def _stage_starts(rows: Sequence[Row]) -> list[tuple[float, str]]:
    starts: dict[float, float] = {}
    before = 0.0
    for row in rows:
        starts.setdefault(row["Progress/resolution"], before)
        before = row["Progress/kimg"]
    marks = [(kimg, f"{side:g}") for side, kimg in starts.items()]
    return marks if len(marks) > 1 else []


def _sides_shown(rows: Sequence[Row]) -> Iterator[tuple[float, float]]:
    """Yields kimg and resolution, in a fade that between the two."""
    for row in condense(rows, _MOST_TICKS):
        side, alpha = row["Progress/resolution"] or 4, row["Progress/alpha"] or 0
        yield row["Progress/kimg"] or 0, side * 2 ** (alpha - 1)


def _planned(record: RunRecord) -> Iterator[tuple[float, float]]:
    """Yields the ends of the fades and stages that are still to come."""
    done = record.rows[-1]["Progress/nimg"]
    for stage in record.schedule.stages():
        for end in (record.schedule.fade_end(stage), record.schedule.stage_end(stage)):
            if end > done:
                yield end / 1000, stage.resolution


def _show(charts: Sequence[Chart], name: str) -> str:
    figures = [_figure(chart, f"{name}-{n}") for n, chart in enumerate(charts)]
    return '<div class="charts">\n' + "\n".join(figures) + "\n</div>"


def _figure(chart: Chart, name: str) -> str:
    """Returns a chart under its title and legend, its numbers folded below."""
    hidden = chart.hidden()
    note = f"{hidden} value(s) beyond the edges" if hidden else ""
    return (
        f'<figure class="chart">\n<figcaption><h3>{escape(chart.title)}</h3>'
        f"{_legend(chart)}</figcaption>\n{draw(chart, name)}\n"
        + (f'<p class="note">{note}</p>\n' if note else "")
        + details("Numbers", _numbers(chart))
        + "\n</figure>"
    )


def _legend(chart: Chart) -> str:
    if not any(line.name for line in chart.lines):
        return ""
    items = "".join(
        f'<li><svg class="key" viewBox="0 0 22 8" aria-hidden="true"><g '
        f'class="line line-{n % 6}"><path d="M0 4H22"/></g></svg>{escape(line.name)}'
        "</li>"
        for n, line in enumerate(chart.lines)
    )
    return f'<ul class="legend">{items}</ul>'


def _numbers(chart: Chart) -> str:
    places = sorted({x for line in chart.lines for x, _ in line.points})
    columns = [dict(line.points) for line in chart.lines]
    rows = [
        [f"{x:,.6g}", *(_number(column.get(x)) for column in columns)] for x in places
    ]
    header = ["kimg", *(line.name or chart.title for line in chart.lines)]
    return table(f"{chart.title}: numbers", header, rows)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"
