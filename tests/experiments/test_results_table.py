"""The pages of a table, from summaries written by hand."""

import csv
import math

import pytest

from progan_jax.experiments.results import Summary, to_csv, to_markdown
from progan_jax.experiments.tables import TABLES

TABLE = TABLES["cifar10_is"]
ROW = TABLE.rows[0]
FLOOR = {"fid": 2.0, "swd_average": 1.5}


@pytest.fixture
def summary():
    values = {"swd_average": (7.125, 0.5), "fid": (30.0, math.nan)}
    return Summary(ROW, values, kimg=123.4, hours=1.25, seeds=2, diverged=1)


def cells(page, start):
    (line,) = [line for line in page.splitlines() if line.startswith(start)]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_ours_stands_below_the_published_row(summary):
    page = to_markdown(
        "cifar10_is", TABLE, [summary], FLOOR, frozenset(), ["On two cores."]
    )
    assert page.startswith("# cifar10_is: CIFAR-10, unconditional")
    assert "\nOn two cores.\n" in page
    published = cells(page, "| ours | Progressive GAN, published")
    assert published[2:] == ["8.56 ± 0.06", "", "", "", "", ""]
    ours = cells(page, "| ours | Progressive GAN, ours")
    assert ours[2:] == ["", "30.00", "7.12 ± 0.50", "123.4", "1.25", "2, 1 diverged"]
    assert cells(page, "|  | real images")[2:5] == ["", "2.00", "1.50"]
    assert "| WGAN-GP, published | 7.86 ± 0.07 |" in page
    assert "best snapshot of the final resolution by inception_score_mean;" in page


def test_values_without_weights_say_so(summary):
    missing = frozenset({"inception_score_mean"})
    page = to_markdown("cifar10_is", TABLE, [summary], {}, missing, [])
    assert cells(page, "| ours | Progressive GAN, ours")[2] == "no weights"
    assert "best snapshot of the final resolution by swd_average;" in page


def test_a_row_without_any_snapshot_is_not_dropped():
    nothing = Summary(ROW, {}, kimg=math.nan, hours=math.nan, seeds=2, diverged=2)
    page = to_markdown("cifar10_is", TABLE, [nothing], {}, frozenset(), [])
    ours = cells(page, "| ours | Progressive GAN, ours")
    assert ours[2:] == ["", "", "", "", "", "2, 2 diverged"]


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (("128", "64", "32", "16"), "the reverse).\n"),
        (
            ("32", "16"),
            "; ours is without the levels 128, 64 of the published average.",
        ),
    ],
)
def test_the_order_of_averages_over_fewer_levels_says_so(levels, expected):
    table = TABLES["table1_celeba"]
    summaries = [
        Summary(
            row,
            {f"swd_{name}": (average, 0.0) for name in (*levels, "average")},
            kimg=1.0,
            hours=1.0,
            seeds=1,
            diverged=0,
        )
        for row, average in zip(table.rows, (9.0, 4.0), strict=False)
    ]
    page = to_markdown("table1_celeba", table, summaries, {}, frozenset(), [])
    assert expected in page


def summaries_of(values):
    return [
        Summary(row, row_values, kimg=1.0, hours=1.0, seeds=1, diverged=0)
        for row, row_values in zip(TABLES["table1_celeba"].rows, values, strict=False)
    ]


BOTH = [
    {"fid": (fid, 0.0), "fd_dinov2": (fd, 0.0), "swd_average": (swd, 0.0)}
    for fid, fd, swd in ((1.0, 30.0, 5.0), (2.0, 20.0, 9.0), (3.0, 20.0, 8.0))
]
WITHOUT_FD = [{"fid": of["fid"], "swd_average": of["swd_average"]} for of in BOTH]


@pytest.mark.parametrize(
    ("values", "frozen", "order"),
    [
        (BOTH, ("lite0",), "by fd_dinov2, then swd_average: c, b, a."),
        (BOTH, ("lite0", "dinov2_small"), "by swd_average: a, c, b."),
        (WITHOUT_FD, ("lite0",), "by swd_average: a, c, b."),
    ],
)
def test_projected_discriminators_take_the_order_from_what_they_have_not_learnt(
    values, frozen, order
):
    page = to_markdown(
        "cifar10_is", TABLE, summaries_of(values), {}, frozenset(), [], frozen
    )
    assert f"Order of the rows {order}" in page
    assert f"({', '.join(frozen)})" in page
    assert "| fid (shares pretraining) | swd average |" in page


def test_without_such_values_of_all_rows_there_is_no_order():
    values = [BOTH[0], {"fid": (1.0, 0.0)}]
    page = to_markdown(
        "cifar10_is", TABLE, summaries_of(values), {}, frozenset(), [], ("lite0",)
    )
    assert "No order of the rows: it takes fd_dinov2 or swd_average of all." in page


def test_rows_of_several_image_sets_have_no_order():
    arguments = summaries_of(BOTH), {}, frozenset(), [], ("lite0",)
    page = to_markdown("cifar10_is", TABLE, *arguments, ranked=False)
    assert "fid (shares pretraining)" in page and "Order of" not in page


def test_pages_of_discriminators_on_pixels_have_no_marks(summary):
    page = to_markdown("cifar10_is", TABLE, [summary], FLOOR, frozenset(), [])
    assert "pretraining" not in page and "Order of" not in page


def test_csv_has_means_and_deviations_of_both_origins(summary):
    rows = list(csv.DictReader(to_csv(TABLE, [summary]).splitlines()))
    published, ours = rows[0], rows[1]
    assert published["origin"] == "Karras et al. 2018, table 3"
    assert published["inception_score_mean"] == "8.56"
    assert published["inception_score_mean_std"] == "0.06"
    assert (ours["origin"], ours["swd_average"], ours["fid_std"]) == (
        "ours",
        "7.125",
        "",
    )
    assert (ours["hours"], ours["seeds"], ours["diverged"]) == ("1.25", "2", "1")
