"""The tables' rows against the configurations that they name."""

import pytest

from progan_jax.configs import ablation, lsun, mnist_modes, stylegan_ablation
from progan_jax.experiments.tables import TABLES
from progan_jax.metrics.protocols import METRICS, is_higher_better
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
        assert load_config(row.config).model.resolution in (32, 128, 256, 1024)
        assert set(row.published) <= set(TABLES[table].columns)
    assert {*TABLES[table].metrics, *TABLES[table].at_best} <= METRICS.keys()


def test_stylegans_tables_have_its_configurations_and_each_of_the_others():
    assert names("stylegan_table1") == [
        *"ABCDEF",
        *(f"celeba_hq_{r}" for r in "ABCDEF"),
    ]
    assert names("stylegan_table2") == ["mix0", "mix50", "F", "mix100"]
    rows = {name for k in (1, 2, 3) for name in names(f"stylegan_table{k}")}
    assert rows >= {"A", *stylegan_ablation.ROWS}


def test_stylegans_published_values_are_those_of_the_reference():
    published = {
        (table, row.name): row.published
        for table in ("stylegan_table1", "stylegan_table2", "stylegan_table3")
        for row in TABLES[table].rows
    }
    assert published["stylegan_table1", "celeba_hq_B"] == {"fid": 6.11}
    # The same trainings of FFHQ are in all tables.
    for name, row in (("B", "traditional0"), ("D", "D"), ("E", "E"), ("F", "F")):
        fid = published["stylegan_table1", name]["fid"]
        assert published["stylegan_table3", row]["fid"] == fid
    assert published["stylegan_table2", "mix0"]["fid"] == 4.42
    assert published["stylegan_table2", "mix100"]["fid_mixed_4"] == 8.40
    assert published["stylegan_table3", "traditional8"] == {
        **{"fid": 4.87, "ppl_zfull": 896.2, "ppl_zend": 902.0, "ls_z": 170.29},
        **{"ppl_wfull": 324.5, "ppl_wend": 212.2, "ls_w": 6.52},
    }


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
