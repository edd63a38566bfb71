"""The tables' rows against the configurations that they name."""

from itertools import pairwise

import pytest

from progan_jax.configs import (
    ablation,
    lsun,
    mnist_modes,
    stylegan_ablation,
    stylegan_xl_ablation,
)
from progan_jax.experiments.runs import Reduction
from progan_jax.experiments.tables import TABLES
from progan_jax.metrics.protocols import METRICS, is_higher_better
from progan_jax.models.stylegan_xl import joint_faults
from progan_jax.runtime.command_line import list_fields, load_config
from progan_jax.training.config import loss_options, make_schedule, model_options

SIDES = (32, 128, 256, 512, 1024)


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
        assert load_config(row.config).model.resolution in SIDES
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


def test_stylegan_xls_ablation_changes_one_thing_from_row_to_row():
    assert names("stylegan_xl_table") == list(stylegan_xl_ablation.ROWS)
    rows = {
        row.name: load_config(row.config) for row in TABLES["stylegan_xl_table"].rows
    }
    changed = {}
    for before, after in zip("BCDE", "CDEF", strict=True):
        old, new = list_fields(rows[before]), list_fields(rows[after])
        changed[after] = {field for field in new if new[field] != old[field]}
    assert changed["C"] == set()  # The file of embeddings, which the user names.
    assert changed["D"] == {
        *("model.stages", "schedule.start_resolution", "schedule.stabilise_kimg"),
    }
    assert changed["E"] == {"model.backbones"}
    assert changed["F"] == {"loss.guidance_weight"}


def test_stylegan_xls_results_are_trained_by_stages_from_16():
    for row in TABLES["stylegan_xl_results"].rows:
        config = load_config(row.config)
        sides = make_schedule(config).resolutions
        assert sides[0] == 16 and f"{sides[-1]}x{sides[-1]}" == row.title
        assert all(b == 2 * a for a, b in pairwise(sides))
        assert row.name == f"{config.data.name}_{sides[-1]}"
    published = {row.name: row.published for row in TABLES["stylegan_xl_results"].rows}
    assert published["imagenet_256"]["inception_score_mean"] == 265.12
    assert published["pokemon_512"] == {"fid": 23.82}


def test_a_smaller_table_has_the_stages_below_its_resolution():
    reduction = Reduction(max_resolution=32, fmap_max=16)
    for table in ("stylegan_xl_table", "stylegan_xl_results"):
        for row in TABLES[table].rows:
            config = load_config(row.config)
            reduction.apply(config)
            assert not list(joint_faults(model_options(config), loss_options(config)))
            assert make_schedule(config).resolutions in ((32,), (16, 32))
