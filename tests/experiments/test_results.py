"""What runs came to, from records written by hand."""

import json
import math
from pathlib import Path

import pytest

from progan_jax.configs import cifar10
from progan_jax.experiments.results import (
    best_snapshot,
    choosing_value,
    mean_floor,
    order_agreement,
    read_outcome,
    summarise,
)
from progan_jax.experiments.runs import DIVERGED, Reduction, Run
from progan_jax.experiments.table import Row, Table

ROWS = tuple(
    Row(name, name, "configs/cifar10.py", {"swd_average": published})
    for name, published in (("a", 9.0), ("b", 4.0), ("c", 40.0))
)
TABLE = Table(
    title="t",
    source="s",
    metrics=("swd", "is"),
    columns=("swd_average", "inception_score_mean"),
    best="inception_score_mean",
    fallback="swd_average",
    num_runs=2,
    rows=ROWS,
)
REDUCTION = Reduction(scale=0.01)


@pytest.fixture
def make_run(tmp_path):
    """Makes a run's folder of records: metric, nimg, values, number of images.

    The snapshot at nimg `coarse` is of an earlier stage.
    """

    def name(nimg, coarse):
        return f"{nimg // 1000:06d}_r{16 if nimg == coarse else 32:03d}"

    def make(row, seed, records, diverged=False, coarse=None):
        workdir = tmp_path / row.name / str(seed)
        workdir.mkdir(parents=True)
        lines = [
            {
                "snapshot": "reals" if nimg is None else name(nimg, coarse),
                "metric": metric,
                "settings": {"num_images": images},
                "nimg": nimg or 0,
                "values": values,
            }
            for metric, nimg, values, images in records
        ]
        (workdir / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
        tick = {"Progress/nimg": 2000, "Progress/kimg": 2.0, "Timing/total_hours": 1.5}
        (workdir / "stats.jsonl").write_text(json.dumps(tick))
        if diverged:
            (workdir / DIVERGED).touch()
        return read_outcome(Run(row, seed, workdir, cifar10.get_config()), REDUCTION)

    return make


def swd(nimg, value, images=512):
    return ("swd", nimg, {"swd_average": value}, images)


def score(nimg, value):
    return ("is", nimg, {"inception_score_mean": value}, 520)


def test_a_snapshot_of_an_earlier_stage_is_never_the_best(make_run):
    records = [swd(1000, 2.0), swd(2000, 7.0), swd(3000, 8.0)]
    outcome = make_run(ROWS[0], 1, records, coarse=1000)
    assert [p.kimg for p in outcome.progress.points] == [1, 2, 3]
    assert outcome.best("swd_average") == outcome.progress.points[1]
    assert make_run(ROWS[0], 2, records[:1], coarse=1000).best("swd_average") is None


def test_what_takes_long_is_measured_for_the_snapshot_that_counts(make_run):
    records = [swd(1000, 5.0), swd(2000, 4.0), swd(3000, 6.0)]
    run = make_run(ROWS[0], 0, records).run
    assert best_snapshot(run, TABLE, REDUCTION) == "000002.000_r032"
    run = make_run(ROWS[1], 0, [swd(1000, 5.0)], coarse=1000).run
    assert best_snapshot(run, TABLE, REDUCTION) is None


def test_points_are_snapshots_in_order_with_hours_and_values(make_run):
    outcome = make_run(ROWS[0], 1, [score(2000, 3.0), swd(2000, 7.0), swd(1000, 8.0)])
    assert [p.kimg for p in outcome.progress.points] == [1, 2]
    assert outcome.progress.points[1].values == {
        "inception_score_mean": 3,
        "swd_average": 7,
    }
    assert outcome.progress.points[1].hours == 1.5
    assert math.isnan(outcome.progress.points[0].hours)


def test_values_of_other_numbers_of_images_are_left_out(make_run):
    outcome = make_run(ROWS[0], 1, [swd(1000, 1.0, images=16384), swd(None, 2.0)])
    assert outcome.progress.points == []
    assert outcome.progress.floor == {"swd_average": 2.0}


def test_the_floor_is_the_mean_of_those_that_were_measured(make_run):
    outcomes = [
        make_run(ROWS[0], 1, [swd(None, 2.0)]),
        make_run(ROWS[0], 2, [swd(None, 4.0)]),
        make_run(ROWS[0], 3, []),
    ]
    assert mean_floor(outcomes) == {"swd_average": 3.0}


def test_each_run_is_taken_at_its_best_snapshot(make_run):
    # By the score: 4 of the first run and 6 of the second, with the SWD there.
    outcomes = [
        make_run(ROWS[0], 1, [score(1000, 4.0), swd(1000, 9.0), score(2000, 3.0)]),
        make_run(ROWS[0], 2, [score(1000, 5.0), score(2000, 6.0), swd(2000, 7.0)]),
    ]
    summary = summarise(ROWS[0], outcomes, TABLE)
    assert summary.values["inception_score_mean"] == (5.0, pytest.approx(2**0.5))
    assert summary.values["swd_average"] == (8.0, pytest.approx(2**0.5))
    assert (summary.kimg, summary.seeds, summary.diverged) == (1.5, 2, 0)
    assert summary.hours == 1.5


def test_without_weights_the_fallback_chooses_and_less_is_better(make_run):
    outcomes = [make_run(ROWS[0], 1, [swd(1000, 5.0), swd(2000, 9.0)])]
    assert choosing_value(TABLE, outcomes) == "swd_average"
    mean, deviation = summarise(ROWS[0], outcomes, TABLE).values["swd_average"]
    assert mean == 5
    assert math.isnan(deviation)


def test_a_run_that_diverged_is_counted_and_keeps_what_it_reached(make_run):
    outcomes = [
        make_run(ROWS[0], 1, [], diverged=True),
        make_run(ROWS[0], 2, [swd(1000, 5.0)], diverged=True),
    ]
    summary = summarise(ROWS[0], outcomes, TABLE)
    assert (summary.seeds, summary.diverged) == (2, 2)
    assert summary.values["swd_average"][0] == 5


@pytest.mark.parametrize(
    ("ours", "tau"),
    # Published: b < a < c. Of three pairs, as many agree less disagree, over 3.
    [((9, 4, 40), 1.0), ((4, 9, 40), 1 / 3), ((9, 40, 4), -1.0)],
)
def test_the_order_agrees_by_kendalls_tau(make_run, ours, tau):
    outcomes = [
        make_run(row, 1, [swd(1000, float(v))])
        for row, v in zip(ROWS, ours, strict=True)
    ]
    summaries = [summarise(row, outcomes, TABLE) for row in ROWS]
    assert order_agreement(summaries, "swd_average") == pytest.approx(tau)
    assert order_agreement(summaries[:1], "swd_average") is None


def test_the_folder_of_a_run_may_be_empty(tmp_path):
    run = Run(ROWS[0], 1, Path(tmp_path), cifar10.get_config())
    assert read_outcome(run, REDUCTION).progress.points == []
