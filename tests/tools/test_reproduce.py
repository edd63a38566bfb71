"""A small table that is trained, measured, stopped and continued."""

import csv
import dataclasses
import json
import re
import shlex
import sys

import pytest
from absl.testing import flagsaver

from progan_jax.errors import DivergedError, UserError
from progan_jax.experiments import runs
from progan_jax.experiments.table import Row, Table
from progan_jax.experiments.tables import TABLES
from progan_jax.metrics.scoreboard import REALS
from tests.metrics.test_attributes import redness, write_program

TINY = Table(
    title="digits",
    source="nobody",
    metrics=("swd", "is"),
    columns=("swd_16", "swd_average", "inception_score_mean", "ms_ssim"),
    best="inception_score_mean",
    fallback="swd_average",
    num_runs=1,
    rows=(
        Row("a", "digits", "configs/digits.py", {"swd_average": 9.0}),
        Row("e*", "digits again", "configs/digits.py", {"swd_average": 8.0}),
    ),
    at_best=("ms_ssim",),
)
SMALL = [
    "--config.runtime.num_devices=1",
    "--config.train.grid=4x2",
    "--config.model.latent_size=8",
    "--config.schedule.start_resolution=16",  # One stage: one program.
]


@pytest.fixture
def reproduce(import_tool):
    return import_tool("reproduce")


@pytest.fixture
def table(reproduce, monkeypatch, tmp_path):
    """A table of digits, and no weights of Inception."""
    monkeypatch.setitem(TABLES, "tiny", TINY)
    monkeypatch.setenv("PROGAN_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        "progan_jax.metrics.inception_weights.URL", "http://localhost:9/none.pth"
    )
    flags = {"scale": 0.004, "max_resolution": 16, "fmap_max": 8}
    with flagsaver.flagsaver(workdir=str(tmp_path / "table"), **flags):
        yield tmp_path / "table"


@pytest.fixture
def table_of_latents(table, monkeypatch):
    """One with path lengths and separability of the best snapshots."""
    values = ("swd_average", "ppl_zend", "ls_z")
    of_latents = dataclasses.replace(
        TINY,
        metrics=("swd",),
        columns=values,
        best=values[0],
        at_best=("ppl_zend", "ls"),
    )
    monkeypatch.setitem(TABLES, "tiny", of_latents)
    with flagsaver.flagsaver(rows=["a"], max_resolution=32):
        yield table


def untrainable(config, workdir):
    raise AssertionError("nothing may be trained")


def ours(folder):
    rows = csv.DictReader((folder / "tiny.csv").read_text().splitlines())
    return {row["row"]: row for row in rows if row["origin"] == "ours"}


def test_a_row_is_trained_measured_and_tabulated_once(reproduce, table, capsys):
    with flagsaver.flagsaver(rows=["e*"]):
        reproduce.main("tiny", SMALL)
        printed = capsys.readouterr().out
        assert f"{table}/e-star/seed-1000: 0.2 kimg" in printed
        page = (table / "tiny.md").read_text()
        assert page in printed
        assert "0.004 times the images of the recipe" in page
        assert "1 of 2 rows" in page
        assert page.count("no weights") == 1
        assert float(ours(table)["e*"]["swd_average"]) > 0
        assert float(ours(table)["e*"]["ms_ssim"]) > 0
        measured = (table / "e-star/seed-1000/metrics.jsonl").read_text()
        records = [json.loads(line) for line in measured.splitlines()]
        swd, ms_ssim = (
            {r["snapshot"] for r in records if r["metric"] == metric} - {REALS}
            for metric in ("swd", "ms_ssim")
        )
        assert len(swd) >= len(ms_ssim) == 1
        reproduce.main("tiny", SMALL)
        assert "trained already, reused" in capsys.readouterr().out
        assert (table / "e-star/seed-1000/metrics.jsonl").read_text() == measured
    refusal = r"^config\.schedule\..*, but the run in .*e-star"
    with flagsaver.flagsaver(scale=0.005), pytest.raises(UserError, match=refusal):
        reproduce.main("tiny", SMALL)


def test_a_run_that_diverges_stands_in_the_table_and_is_not_tried_again(
    reproduce, table, monkeypatch
):
    def diverge(config, workdir):
        workdir.mkdir(parents=True)
        raise DivergedError("stopped at 0.1 kimg")

    monkeypatch.setattr(runs, "train", diverge)
    with flagsaver.flagsaver(rows=["a"]):
        reproduce.main("tiny", SMALL)
        assert ours(table)["a"]["diverged"] == "1"
        monkeypatch.setattr(runs, "train", None)
        reproduce.main("tiny", SMALL)
    assert "1, 1 diverged" in (table / "tiny.md").read_text()


def test_no_path_of_this_machine_is_in_the_table(reproduce, table, monkeypatch):
    def diverge(config, workdir):
        workdir.mkdir(parents=True)
        raise DivergedError("stopped at 0.1 kimg")

    monkeypatch.setattr(runs, "train", diverge)
    monkeypatch.setattr(reproduce, "check", lambda *_: None)
    evaluation = ("inception_weights", "classifier", "lpips_weights", "attributes")
    fields = ("data.data_dir", "init_from", *(f"eval.{name}" for name in evaluation))
    places = [f"--config.{field}=/home/me" for field in fields]
    with flagsaver.flagsaver(rows=["a"]):
        reproduce.main("tiny", [*SMALL, *places])
    page = (table / "tiny.md").read_text()
    assert "Changed: --config.runtime.num_devices=1, " in page
    assert "/home/me" not in page


def test_a_stop_writes_no_table(reproduce, table, monkeypatch, capsys):
    monkeypatch.setattr(runs, "train", lambda config, workdir: None)
    reproduce.main("tiny", SMALL)
    assert "the same command continues" in capsys.readouterr().err
    assert not (table / "tiny.md").exists()


def test_dry_run_lists_the_costs_and_does_nothing(reproduce, table, capsys):
    with flagsaver.flagsaver(dry_run=True, runs=2):
        reproduce.main("tiny", SMALL)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert all(re.search(r"about [\d.e-]+ h\b", line) for line in lines)
    assert "a guess for" in lines[-1]
    assert "within a factor of three" in lines[-1]
    assert not table.exists()


def test_a_budget_sets_the_scale_at_which_training_takes_so_long(
    reproduce, table, capsys
):
    def cost(**changed):
        with flagsaver.flagsaver(**changed):
            reproduce.main("tiny", SMALL)
        return capsys.readouterr().out

    trained = r"to be trained: about ([\d.e-]+) h"
    whole = re.search(trained, cost(dry_run=True, scale=1.0))
    hours = float(whole[1]) / 40
    half = cost(dry_run=True, scale=1.0, budget=hours)
    scale = float(re.search(r"a scale of ([\d.]+)", half)[1])
    assert scale == pytest.approx(1 / 40, rel=0.1)
    fitted = re.search(trained, half)
    assert float(fitted[1]) == pytest.approx(hours, rel=0.15)
    assert not table.exists()
    # More time than the recipe takes changes nothing of it.
    assert "a scale of 1\n" in cost(dry_run=True, scale=1.0, budget=1000 * hours)
    # It is kept, whatever is measured later, for the same runs.
    cost(jobs=True, scale=1.0, budget=hours)
    ((key, _),) = json.loads((table / "budget.json").read_text()).items()
    (table / "budget.json").write_text(json.dumps({key: 0.5}))
    assert "a scale of 0.5\n" in cost(dry_run=True, scale=1.0, budget=hours)
    assert "a scale of 0.5\n" not in cost(
        dry_run=True, scale=1.0, budget=hours, rows=["a"]
    )
    with pytest.raises(UserError, match="is too short for these runs, which would be"):
        cost(dry_run=True, scale=1.0, budget=1e-9)


def test_jobs_are_commands_that_train_the_same_runs(reproduce, table, capsys):
    with flagsaver.flagsaver(jobs=True, rows=["e*"], runs=2):
        reproduce.main("tiny", SMALL)
    first, second = map(shlex.split, capsys.readouterr().out.splitlines())
    assert first[:4] == [
        "python",
        "-m",
        "progan_jax.main",
        "--config=configs/digits.py",
    ]
    assert f"--workdir={table}/e-star/seed-1001" in second
    assert "--config.seed=1001" in second
    assert "--config.model.fmap_max=8" in second
    assert "--config.schedule.total_kimg=0.184" in second


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"rows": []}, r"--rows=: '' is not a row of the table; choose from a, e\*"),
        ({"rows": ["z"]}, r"'z' is not a row of the table; choose from a, e\*"),
        ({"scale": -1.0}, "--scale=-1.0 must be above 0"),
        ({"budget": 0.0, "scale": 1.0}, "--budget=0 must be above 0; write hours"),
        ({"budget": 2.0}, "--budget=2 decides the scale, and --scale=0.004 too"),
        ({"max_resolution": 24}, "--max_resolution=24 must be a power of two"),
    ],
)
def test_a_mistake_is_one_clear_line(reproduce, table, flags, words):
    with flagsaver.flagsaver(**flags), pytest.raises(UserError, match=words):
        reproduce.main("tiny", SMALL)
    assert not table.exists()


def test_a_runs_folder_of_another_recipe_is_refused_before_anything_is_printed(
    reproduce, table, monkeypatch, tiny_config, capsys
):
    folder = table / "e-star" / "seed-1000"
    folder.mkdir(parents=True)
    begun = json.dumps({"config": tiny_config.to_dict()})
    (folder / "config.json").write_text(begun)
    for flags in ({}, {"dry_run": True}, {"jobs": True}):
        with (
            flagsaver.flagsaver(**flags),
            pytest.raises(UserError, match=r"^config\..*, but the run in .*e-star"),
        ):
            reproduce.main("tiny", SMALL)
    assert capsys.readouterr().out == ""
    assert [path.name for path in folder.iterdir()] == ["config.json"]


def test_what_the_table_decides_is_refused(reproduce, table):
    for field, by in (("num_images=9", "--scale"), ("metrics=fid", "TABLE")):
        override = f"--config.eval.{field}"
        with pytest.raises(UserError, match=f"^{override}: .* by {by}; leave it out$"):
            reproduce.main("tiny", [*SMALL, override])


def test_rows_that_are_named_twice_are_run_once(reproduce, table, capsys):
    with flagsaver.flagsaver(dry_run=True, rows=["a", "a"], runs=1):
        reproduce.main("tiny", SMALL)
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_an_unknown_table_and_missing_images_are_reported(reproduce, table):
    with pytest.raises(
        UserError, match="'table2' is not a table; choose from cifar10_is"
    ):
        reproduce.main("table2", [])
    with pytest.raises(UserError, match=r"config\.data\.data_dir = ''"):
        reproduce.main("tiny", [*SMALL, "--config.data.name=none"])
    assert not table.exists()


def test_a_missing_classifier_is_reported_before_anything_is_trained(
    reproduce, table, monkeypatch
):
    modes = dataclasses.replace(TINY, metrics=("modes",), columns=("modes_found",))
    monkeypatch.setitem(TABLES, "tiny", modes)
    with pytest.raises(UserError, match=r"config\.eval\.classifier = '': .* need"):
        reproduce.main("tiny", SMALL)
    named = "--config.eval.classifier=none"
    with pytest.raises(UserError, match=r"config\.eval\.classifier = 'none': "):
        reproduce.main("tiny", [*SMALL, named])
    assert not table.exists()


def write_attribute(folder, side=16):
    write_program(folder / "red.stablehlo", redness, side=side, channels=1)
    return f"--config.eval.attributes={folder}"


@pytest.mark.slow
def test_without_scikit_learn_or_lpips_their_columns_say_so(
    reproduce, table_of_latents, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    attributes = write_attribute(tmp_path / "attributes")
    start = "--config.schedule.start_resolution=32"
    reproduce.main("tiny", [*SMALL, start, attributes])
    page = (table_of_latents / "tiny.md").read_text()
    assert page.count("no weights") == 2
    assert float(ours(table_of_latents)["a"]["swd_average"]) > 0
    assert ours(table_of_latents)["a"]["ls_z"] == ""
    warnings = capsys.readouterr().err
    assert "columns will be empty: config.eval.metrics: ls needs scikit-lea" in warnings
    assert "columns will be empty: config.eval.lpips_weights = '': there" in warnings


def test_what_the_best_snapshots_need_is_checked_before_training(
    reproduce, table_of_latents, tmp_path, monkeypatch
):
    monkeypatch.setattr(runs, "train", untrainable)
    large = write_attribute(tmp_path / "attributes", side=64)
    for override, words in (
        (large, "images of 64x64x1, which cannot be made of 32x32x1"),
        ("--config.eval.attributes=none", "no attribute's classifier in none; name"),
        ("--config.eval.lpips_weights=none", "there are no LPIPS weights in none; get"),
        ("--config.model.resolution=16", "ppl_zend needs images of 32x32 or more"),
    ):
        with pytest.raises(UserError, match=words):
            reproduce.main("tiny", [*SMALL, override])
    assert not table_of_latents.exists()


def test_the_least_max_resolution_is_that_of_all_metrics(reproduce, table_of_latents):
    refusal = "--max_resolution=16 must be a power of two, and 32 at least"
    with flagsaver.flagsaver(max_resolution=16):
        with pytest.raises(UserError, match=refusal):
            reproduce.main("tiny", SMALL)
        with flagsaver.flagsaver(rows=None), pytest.raises(UserError, match=refusal):
            reproduce.main("stylegan_table3", [])


def test_too_few_images_are_reported_before_training(reproduce, table, monkeypatch):
    monkeypatch.setattr(runs, "train", untrainable)
    refusal = r"swd needs 1,966 real images or more, and .*: change --scale, the"
    with (
        flagsaver.flagsaver(scale=0.12),
        pytest.raises(UserError, match=refusal),
    ):
        reproduce.main("tiny", SMALL)
