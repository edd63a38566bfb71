"""The split of a run's time, from rows made by hand."""

import pytest

from benchmarks.stage_times import by_stage, ratios, table


def row(resolution, nimg, training, maintenance):
    return {
        "Progress/resolution": resolution,
        "Progress/nimg": nimg,
        "Timing/sec_per_tick": training,
        "Timing/maintenance_sec": maintenance,
    }


@pytest.fixture
def growing():
    rows = [row(4, 1000, 2, 6), row(8, 2000, 5, 9), row(8, 3000, 5, 1)]
    return by_stage(rows, {-1: 0.25, 0: 4, 1: 7, 3: 0.25}, wall=30)


def test_every_second_of_a_run_is_counted_in_one_cell(growing):
    lines = [x.strip("| ").split(" | ") for x in table(growing)]
    assert lines[2:] == [
        ["4x4", "1.0", "2.0", "4.0", "2.0", "8.0"],
        ["8x8", "2.0", "10.0", "7.0", "3.0", "20.0"],
        ["start and end", "0.0", "0.0", "0.5", "1.5", "2.0"],
        ["all", "3.0", "12.0", "11.5", "6.5", "30.0"],
    ]


def test_runs_are_compared_in_training_and_in_all(growing):
    fixed = by_stage([row(8, 3000, 36, 4)], {}, wall=45)
    sentence = ratios(growing, fixed)
    assert "takes 3.00 times as long in training alone, 1.50 times in all" in sentence
