"""The tables' rows against the configurations that they name."""

import pytest

from configs import ablation, lsun
from progan_jax.experiments.tables import TABLES
from progan_jax.runtime.command_line import load_config


def names(table):
    return [row.name for row in TABLES[table].rows]


def test_tables_have_every_row_and_category_of_their_configurations():
    assert names("table1_celeba") == names("table1_lsun") == list(ablation.ROWS)
    assert names("lsun_categories") == list(lsun.CATEGORIES)


@pytest.mark.parametrize("table", TABLES)
def test_every_row_loads_and_its_published_figures_are_columns(table):
    for row in TABLES[table].rows:
        assert load_config(row.config).model.resolution in (32, 128, 256)
        assert set(row.published) <= set(TABLES[table].figures)
