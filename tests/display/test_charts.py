"""Charts, read back from Matplotlib's objects and from their SVG."""

import math
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from progan_jax.display.charts import COLOURS, INK, Chart, draw


@pytest.fixture
def axes_of(monkeypatch):
    """Draws a chart and returns Matplotlib's axes of it."""
    made = []
    add_axes = Figure.add_axes
    monkeypatch.setattr(
        Figure, "add_axes", lambda *a, **k: made.append(add_axes(*a, **k)) or made[-1]
    )

    def draw_and_return(chart):
        draw(chart)
        return made[-1]

    return draw_and_return


def texts(chart):
    svg = ElementTree.fromstring(draw(chart))
    return ["".join(e.itertext()) for e in svg.iter() if e.tag.endswith("}text")]


def test_lines_stand_where_their_values_are_with_gaps_where_there_are_none(axes_of):
    points = [(1, 1.0), (2, None), (3, 3.0)]
    line, other = axes_of(Chart("t", {"a": points, "b": [(1, 5.0)]})).lines
    np.testing.assert_array_equal(line.get_xydata(), [[1, 1], [2, np.nan], [3, 3]])
    assert (line.get_label(), other.get_label()) == ("a", "b")
    assert (line.get_color(), other.get_color()) == COLOURS[:2]
    assert line.get_linestyle() != other.get_linestyle()


def test_a_line_that_has_the_charts_name_needs_no_legend():
    assert "t" not in texts(Chart("t", {"t": [(1, 1.0)]}))
    assert {"a", "b"} <= set(texts(Chart("t", {"a": [(1, 1.0)], "b": [(1, 1.0)]})))


@pytest.mark.parametrize(("lowest", "scale"), [(1.0, "log"), (0.0, "linear")])
def test_an_axis_is_logarithmic_where_all_values_are_positive(axes_of, lowest, scale):
    chart = Chart("t", {"a": [(1, lowest), (2, 60.0)]}, is_log=True)
    assert axes_of(chart).get_yscale() == scale
    assert ("50" in texts(chart)) == (scale == "log")


def test_marked_values_are_labelled_alone(axes_of):
    points = [(0, 4.0), (1, 16.0)]
    axes = axes_of(Chart("t", {"a": points}, ticks=[4, 8, 16], is_log=True))
    assert [label.get_text() for label in axes.get_yticklabels()] == ["4", "8", "16"]


@pytest.mark.parametrize("points", [[(0, 5.0)], [(1, 0.0), (2, 0.0)], [(1, -2.0)]])
def test_one_value_alone_and_equal_values_can_be_drawn(axes_of, points):
    low, high = axes_of(Chart("t", {"a": points}, has_dots=True)).get_ylim()
    assert low < points[0][1] < high


def test_few_extreme_values_do_not_squeeze_the_rest(axes_of):
    points = [(n, float(n % 7)) for n in range(300)]
    assert axes_of(Chart("t", {"a": points})).get_ylim()[1] < 7
    points[100] = (100, 1e6)
    assert axes_of(Chart("t", {"a": points})).get_ylim()[1] < 10
    rare = [(n, float(n == 100)) for n in range(300)]
    assert axes_of(Chart("t", {"a": rare})).get_ylim()[1] > 1


@pytest.mark.parametrize("huge", [1e308, -1e308, math.inf])
def test_numbers_too_large_to_draw_are_left_out(axes_of, huge):
    points = [(1, 1.0), (2, huge), (3, -huge), (4, 2.0)]
    for is_log in (False, True):
        axes = axes_of(Chart("t", {"a": points, "b": [(1, huge)]}, is_log=is_log))
        np.testing.assert_array_equal(axes.lines[0].get_ydata()[[0, 3]], [1, 2])
        assert np.isnan(axes.lines[0].get_ydata()[1:3]).all()
        assert np.abs(axes.get_ylim()).max() < 3
    assert not Chart("t", {"a": [(1, huge)]}).values()


def test_stages_are_marked_and_names_that_would_overlap_left_out(axes_of):
    stages = [(0, "4"), (1, "8"), (50, "16")]
    axes = axes_of(Chart("t", {"a": [(0, 1.0), (100, 2.0)]}, stages))
    assert [line.get_xdata()[0] for line in axes.lines[1:]] == [1, 50]
    assert [text.get_text() for text in axes.texts] == ["4", "16"]


def test_a_chart_is_described_in_words_and_names_are_escaped():
    chart = Chart("<b>", {"a&b": [(1, 1.5), (2, None), (3, 0.5)], "c": [(1, None)]})
    assert chart.describe() == (
        "<b> against kimg, 1 to 3. a&b: from 1.5 to 0.5, lowest 0.5, highest 1.5."
    )
    assert "a&b" in texts(chart)


def test_the_same_chart_is_the_same_svg():
    chart = Chart("t", {"a": [(1, 1.0), (2, 2.0)]})
    assert draw(chart) == draw(chart)


def luminance(colour):
    """Of WCAG 2: linear light, weighted."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colour", [*COLOURS, INK])
def test_lines_and_texts_stand_out_from_a_white_page(colour):
    assert 1.05 / (luminance(colour) + 0.05) >= 4.5


def test_matplotlib_is_imported_at_the_first_chart_only():
    code = (
        "import sys, progan_jax.record, progan_jax.display.page as page\n"
        "assert 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
