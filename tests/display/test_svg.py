"""Charts: where a value is drawn, and which values are marked."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from progan_jax.display.svg import Chart, Line, decade_ticks, draw, round_ticks


def drawn(chart, name="c"):
    """The points of each line, as numbers; subpaths apart."""
    svg = ElementTree.fromstring(draw(chart, name))
    lines = []
    for group in svg.iter("g"):
        if "line" in group.get("class", "").split():
            path = group.find("path").get("d")
            parts = [re.findall(r"[-\d.]+", part) for part in path.split("M")[1:]]
            lines.append([[float(number) for number in part] for part in parts])
    return svg, lines


def test_larger_values_are_higher_and_later_ones_farther_right():
    _, ((line,),) = drawn(Chart("t", [Line("a", [(0, 1.0), (5, 3.0), (10, 2.0)])]))
    x, y = line[::2], line[1::2]
    assert x == pytest.approx([46, 197, 348])
    assert y[1] < y[2] < y[0]
    assert y[2] == pytest.approx((y[0] + y[1]) / 2, abs=0.1)


def test_equal_ratios_are_equally_far_apart_on_a_logarithmic_axis():
    points = [(1, 1.0), (2, 10.0), (3, 100.0)]
    _, ((line,),) = drawn(Chart("t", [Line("a", points)], is_log=True))
    first, second, third = line[1::2]
    assert first - second == pytest.approx(second - third, abs=0.2)


def test_a_missing_value_leaves_a_gap():
    points = [(1, 1.0), (2, 2.0), (3, None), (4, 3.0), (5, 1.0)]
    _, (parts,) = drawn(Chart("t", [Line("a", points)]))
    assert [len(part) // 2 for part in parts] == [2, 2]


def test_one_value_alone_and_equal_values_can_be_drawn():
    for points in ([(0, 5.0)], [(1, 0.0), (2, 0.0)], [(1, -2.0)]):
        _, lines = drawn(Chart("t", [Line("a", points, has_dots=True)]))
        assert lines


def test_few_extreme_values_do_not_squeeze_the_rest_and_are_counted():
    points = [(n, float(n % 7)) for n in range(300)]
    points[100] = (100, 1e6)
    chart = Chart("t", [Line("a", points)])
    _, ((line,),) = drawn(chart)
    ordinary = [y for n, y in enumerate(line[1::2]) if n != 100]
    assert max(ordinary) - min(ordinary) > 80
    assert chart.hidden() == 1
    assert Chart("t", [Line("a", points[:100])]).hidden() == 0


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 40, [0, 10, 20, 30, 40]),
        (-4.8, 4.9, [-4, -2, 0, 2, 4]),
        (0.07, 0.21, [0.1, 0.15, 0.2]),
        (3, 3, [3]),
    ],
)
def test_ticks_are_few_round_numbers(low, high, ticks):
    assert round_ticks(low, high) == pytest.approx(ticks)


def test_ticks_of_a_logarithmic_axis_are_decades_or_their_parts():
    assert decade_ticks(8, 12000) == pytest.approx([10, 100, 1000, 10000])
    assert decade_ticks(9, 260) == pytest.approx([10, 20, 50, 100, 200])


def test_names_are_escaped():
    svg, _ = drawn(Chart("<b>", [Line("a&b", [(1, 1.0)])], [(0, "<4>")]))
    assert svg.find("title").text == "<b>"
    assert "a&b: from 1 to 1" in svg.find("desc").text
    assert "<4>" in [text.text for text in svg.iter("text")]
