"""Rows of many ticks, in few."""

import pytest

from progan_jax.report.records import condense


def row(kimg, resolution, loss):
    return {"Progress/kimg": kimg, "Progress/resolution": resolution, "loss": loss}


def test_few_rows_stay_as_they_are():
    rows = [row(1, 4, 0.5), row(2, 4, None)]
    assert condense(rows, 2) == rows


def test_many_rows_are_means_that_span_no_two_stages():
    rows = [row(n, 4, float(n)) for n in range(1, 4)]
    rows += [row(n, 8, None if n == 4 else float(n)) for n in range(4, 8)]
    means = condense(rows, 4)
    assert [r["Progress/kimg"] for r in means] == [2, 3, 5, 7]
    assert [r["Progress/resolution"] for r in means] == [4, 4, 8, 8]
    assert [r["loss"] for r in means] == pytest.approx([1.5, 3, 5, 6.5])
