"""What is drawn, read back from Matplotlib's objects."""

import pytest
from matplotlib import figure

from progan_jax.experiments import curves
from progan_jax.metrics.scoreboard import Point, Progress


def run(label, scale=1.0):
    points = [
        Point(k, k / 10, {"swd_32": scale * 9 / k, "swd_16": 5.0, "fid": 100 / k}, 32)
        for k in (1.0, 2.0)
    ]
    return Progress(label, points, {"fid": 2.0}, [(0.1, 1.0), (0.2, 2.0)])


@pytest.fixture
def drawn(monkeypatch):
    """Collects the figures that are saved."""
    canvases = []
    save = figure.Figure.savefig

    def collect(canvas, path, **options):
        canvases.append(canvas)
        save(canvas, path, **options)

    monkeypatch.setattr(figure.Figure, "savefig", collect)
    return canvases


def lines_of(axis):
    return {line.get_label(): line.get_xydata().tolist() for line in axis.lines}


def test_values_stand_against_images_above_and_hours_below(drawn, tmp_path):
    runs = [run("growing"), run("fixed")]
    curves.draw_values(tmp_path / "x.png", runs, ["fid", "is"])
    above, below = drawn[0].axes
    assert lines_of(above)["growing"] == [[1, 100], [2, 50]]
    assert lines_of(below)["fixed"] == [[0.1, 100], [0.2, 50]]
    assert [y for _, y in lines_of(above)["real images"]] == [2, 2]
    assert (tmp_path / "x.png").exists()


def test_runs_of_one_label_share_a_colour_and_a_line_of_the_legend(drawn, tmp_path):
    curves.draw_values(tmp_path / "x.png", [run("a"), run("a"), run("b")], ["fid"])
    first, second, other = (line.get_color() for line in drawn[0].axes[0].lines[:3])
    assert first == second != other
    legend = [text.get_text() for text in drawn[0].axes[0].get_legend().texts]
    assert legend == ["a", "b", "real images"]


def test_levels_have_a_column_for_each_label_and_the_finest_first(drawn, tmp_path):
    curves.draw_levels(tmp_path / "x.png", [run("growing"), run("fixed", scale=2)])
    growing, fixed, *below = drawn[0].axes
    assert list(lines_of(growing)) == ["32x32", "16x16"]
    assert lines_of(fixed)["32x32"] == [[1, 18], [2, 9]]
    assert len(below) == 2
    assert growing.get_ylim() == fixed.get_ylim()


def test_throughput_begins_with_nothing(drawn, tmp_path):
    curves.draw_throughput(tmp_path / "x.png", [run("a")])
    (line,) = drawn[0].axes[0].lines
    assert line.get_xydata().tolist() == [[0, 0], [0.1, 1], [0.2, 2]]


def test_classes_are_those_of_the_newest_snapshot_that_was_classified(drawn, tmp_path):
    shares = [
        {f"classifier_share_{c}": s for c, s in enumerate(x)}
        for x in ((1, 0), (0.25, 0.75))
    ]
    points = [Point(k, k, s, 32) for k, s in enumerate([*shares, {"fid": 1.0}])]
    curves.draw_classes(tmp_path / "x.png", [Progress("a", points, {}, [])])
    heights = [bar.get_height() for bar in drawn[0].axes[0].patches]
    assert heights == [25, 75]


def truncated(label):
    old = {"fid": 50.0, "fid_psi0.5": 40.0}
    new = {"fid": 30.0, "fid_psi0.7": 10.0, "fid_psi-1": 90.0, "kid_mean": 3.0}
    new |= {"kid_psi0.7_mean": 2.0, "kid_psi0.7_std": 0.1, "kid_std": 0.2, "ls_w": 4.0}
    new |= {"precision": 0.6, "precision_psi0.7": 0.8, "recall": 0.4}
    new |= {"recall_psi0.7": 0.2}
    points = [Point(1, 1, old, 32), Point(2, 2, new, 32), Point(3, 3, {"ls_w": 3}, 32)]
    return Progress(label, points, {}, [])


def test_values_by_truncation_are_those_of_the_newest_snapshot_with_several(
    drawn, tmp_path
):
    curves.draw_truncation(tmp_path / "x.png", [truncated("a"), run("b")])
    axes = {axis.get_ylabel(): lines_of(axis)["a"] for axis in drawn[0].axes[:3]}
    assert axes == {
        "fid": [[-1, 90], [0.7, 10], [1, 30]],
        "kid": [[0.7, 2], [1, 3]],
        "precision": [[0.7, 0.8], [1, 0.6]],
    }
    last = drawn[0].axes[-1]
    assert (last.get_xlabel(), last.get_ylabel()) == ("precision", "recall")
    assert lines_of(last)["a"] == [[0.8, 0.2], [0.6, 0.4]]


def test_what_nobody_measured_is_not_drawn(tmp_path):
    curves.draw_truncation(tmp_path / "x.png", [run("a")])
    empty = [Progress("a", [], {}, [])]
    curves.draw_values(tmp_path / "x.png", empty, ["fid"])
    curves.draw_levels(tmp_path / "x.png", empty)
    curves.draw_classes(tmp_path / "x.png", empty)
    assert not (tmp_path / "x.png").exists()
