"""The tables' rows against the configurations that they name."""

import pytest

from progan_jax.configs import ablation, lsun, mnist_modes
from progan_jax.experiments.tables import TABLES
from progan_jax.metrics.protocols import is_higher_better
from progan_jax.runtime.command_line import load_config


def names(table):
    return [row.name for row in TABLES[table].rows]


def test_tables_have_every_row_and_category_of_their_configurations():
    assert names("table1_celeba") == names("table1_lsun") == list(ablation.ROWS)
    assert names("lsun_categories") == list(lsun.CATEGORIES)
    variants = [
        f"{k},{name}" for k in mnist_modes.DIVISORS for name in mnist_modes.VARIANTS
    ]
    rows = TABLES["mnist_modes"].rows
    assert [r.config for r in rows] == [f"configs/mnist_modes.py:{v}" for v in variants]
    # Folders are named by them, and --rows lists them with commas.
    assert names("mnist_modes") == [f"k{v.replace(',', '_')}" for v in variants]


@pytest.mark.parametrize("table", TABLES)
def test_every_row_loads_and_its_published_values_are_columns(table):
    for row in TABLES[table].rows:
        assert load_config(row.config).model.resolution in (32, 128, 256)
        assert set(row.published) <= set(TABLES[table].columns)


def test_the_mode_test_has_the_papers_eight_seeds_and_more_modes_are_better():
    table = TABLES["mnist_modes"]
    assert table.num_runs == 8
    assert is_higher_better(table.best) and not is_higher_better("modes_kl")
    # As in the paper: each of its parts finds more modes than WGAN-GP alone.
    found = {r.name: r.published["modes_found"][0] for r in table.rows}
    for k in ("k4", "k2"):
        assert min(found, key=lambda n, k=k: found[n] if n[:2] == k else 1e3) == (
            f"{k}_wgan_gp"
        )
    assert len(table.others) == 4
