"""Evaluation of the snapshots of a short run, afterwards and while it trains."""

import json
import shutil
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from progan_jax.errors import UserError
from progan_jax.evaluate import (
    Evaluation,
    evaluate,
    parse_metrics,
    parse_truncation,
)
from progan_jax.inference.snapshot import find_snapshot, read_snapshot, write_snapshot
from progan_jax.metrics.measure import Measurer
from progan_jax.runtime.mesh import make_mesh
from progan_jax.train import train
from progan_jax.weights.weight_files import Weights
from tests.tiny_xl import coloured_digits


@pytest.fixture
def config(tiny_config):
    tiny_config.schedule.start_resolution = 16
    tiny_config.schedule.total_kimg = 0.064
    tiny_config.eval.metrics = "swd,ms_ssim"
    tiny_config.eval.num_images = 16
    tiny_config.eval.best = "swd_average"
    return tiny_config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of the run that is trained once."""
    return tmp_path_factory.mktemp("trained") / "run"


@pytest.fixture
def workdir(config, tmp_path, trained):
    if not trained.exists():
        train(config, trained)
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture
def evaluated(config, workdir, trained):
    """The folder of the run after an evaluation, and its table; measured once."""
    folder, table = trained.with_name("evaluated"), trained.with_name("table.txt")
    if not table.exists():
        shutil.copytree(workdir, folder)
        table.write_text(evaluate(config, folder))
    shutil.copytree(folder, workdir, dirs_exist_ok=True)
    return workdir, table.read_text()


def records(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_all_snapshots_are_measured_newest_first_after_the_real_images(evaluated):
    workdir, text = evaluated
    table = text.splitlines()
    snapshots = sorted(p.name for p in (workdir / "snapshots").glob("*_r*"))
    assert table[:3] == [
        "digits, 16x16, grey taken as RGB, seed 1000",
        "swd: 16 images",
        "ms_ssim: 16 images",
    ]
    assert [line.split()[0] for line in table[4:-1]] == ["reals", *snapshots[::-1]]
    best = json.loads((workdir / "snapshots" / "best").read_text())["snapshot"]
    values = {
        r["snapshot"]: r["values"]["swd_average"]
        for r in records(workdir)
        if r["metric"] == "swd" and r["snapshot"] != "reals"
    }
    assert best == min(values, key=lambda name: values[name])
    assert table[-1] == f"best by swd_average: {best}"


def test_the_runs_report_is_updated_with_the_values(config, workdir):
    report = workdir / "report.html"
    assert "SWD average" not in report.read_text()
    evaluate(config, workdir)
    assert "SWD average" in report.read_text()


def test_what_was_measured_is_not_measured_again(config, evaluated, monkeypatch):
    workdir, first = evaluated
    written = records(workdir)
    monkeypatch.setattr(Measurer, "measure", lambda *_: pytest.fail("measured again"))
    table = workdir / "metrics.csv"
    whole = table.read_bytes()
    table.write_bytes(whole.replace(b".", b":"))
    assert evaluate(config, workdir) == first
    assert records(workdir) == written
    assert table.read_bytes() == whole  # Nobody checks what it holds.


def test_a_damaged_record_is_measured_again_after_one_warning(
    config, evaluated, capsys
):
    workdir, first = evaluated
    path = workdir / "metrics.jsonl"
    lines = path.read_bytes().split(b"\n")
    lines[1] = lines[1].replace(b'"nimg"', b'"nimf"')
    path.write_bytes(b"\n".join([b"\xff", b"5", b"null", b"[]", b"{}", *lines]))
    assert evaluate(config, workdir) == first
    printed = capsys.readouterr().err
    assert (
        printed.count("warning") == printed.count("6 damaged line(s) are left out") == 1
    )


def test_one_snapshot_is_measured_if_named_and_best_is_a_name(config, evaluated):
    workdir, _ = evaluated
    config.eval.snapshot, config.eval.num_images = "best", 8
    table = evaluate(config, workdir).splitlines()
    best = json.loads((workdir / "snapshots" / "best").read_text())["snapshot"]
    assert [line.split()[0] for line in table[4:-1]] == ["reals", best]


def test_training_measures_at_its_cadence_what_evaluation_measures(config, tmp_path):
    config.eval.every_kimg, config.eval.stage_swd_images = 0.064, 64
    train(config, tmp_path / "run")
    rows = (tmp_path / "run" / "stats.jsonl").read_text().splitlines()
    measured_rows = [row for row in map(json.loads, rows) if "Metrics/swd_16" in row]
    assert [row["Progress/nimg"] for row in measured_rows] == [64]
    (row,), measured = measured_rows, records(tmp_path / "run")
    # The distance at the stage's end, of another number of images, has its own name.
    assert row["Metrics/stage_swd_16"] != row["Metrics/swd_16"]
    config.eval.snapshot = "000000.064_r016"
    evaluate(config, tmp_path / "run")
    assert records(tmp_path / "run") == measured
    assert row["Metrics/swd_16"] == measured[2]["values"]["swd_16"]
    assert find_snapshot(tmp_path / "run", "best").name == "000000.064_r016"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "metrics",
            "swd,psnr",
            "there is no metric 'psnr'; choose from swd, ms_ssim",
        ),
        ("metrics", " ", "there is no metric in it"),
        ("best", "ms_ssim", "choose from swd_16, swd_average"),
        ("best", "fid", "'fid' must be a value of config.eval.metrics"),
        ("num_images", 899, "ms_ssim needs at least 2, a multiple of 2"),
        (
            "num_images",
            1798,
            "swd needs 1,798 real images or more, and digits has",
        ),
        ("snapshot", "000009_r016", "config.eval.snapshot=000009_r016: .*no such snap"),
        ("resize", "bicubic", "config.eval.resize = 'bicubic' must be one of tf1, cl"),
        ("num_images", -1, "config.eval.num_images = -1 must be at least 0"),
        *[
            (
                "metrics",
                f"swd,ppl_w{place}",
                rf"ppl_w{place} needs a mapping network, and the run is of the family "
                rf"progan \(Progressive GAN\), which has none; choose ppl_z{place}",
            )
            for place in ("full", "end")
        ],
        (
            "metrics",
            "fid_mixed_2",
            r"fid_mixed_2 needs a mapping network, .* has none; choose fid",
        ),
        (
            "truncation_psi",
            "1,0.7",
            r"the run is of the family progan \(Progressive GAN\), which has no trunc",
        ),
        ("truncation_psi", "much", "psi = 'much': psi='much' must be a number in "),
        ("truncation_psi", "1,", "psi = '1,': psi='' must be a number in"),
        ("truncation_psi", "nan", "psi = 'nan': psi=nan must be a number in"),
        ("truncation_psi", "0.7,2.5", r"psi=2\.5 must be a number in"),
    ],
)
def test_mistakes_are_reported_before_any_work(config, tmp_path, field, value, message):
    folder = tmp_path / "run" / "snapshots" / "000001_r016"
    folder.mkdir(parents=True)
    (folder / "snapshot.json").write_text("{}")
    config.eval[field] = value
    with pytest.raises(UserError, match=message):
        evaluate(config, tmp_path / "run")


def test_a_missing_run_and_one_without_snapshots_are_mistakes(config, tmp_path):
    with pytest.raises(UserError, match=r"--workdir=.*there is no such folder"):
        evaluate(config, tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"--workdir=.*it is neither a run nor"):
        evaluate(config, tmp_path)
    (tmp_path / "config.json").touch()
    with pytest.raises(UserError, match=r"--workdir=.*holds no snapshot yet"):
        evaluate(config, tmp_path)


def test_missing_weights_are_reported_with_what_to_put_where(
    config, workdir, monkeypatch
):
    monkeypatch.setenv("PROGAN_JAX_CACHE", str(workdir / "cache"))
    monkeypatch.setattr(
        "progan_jax.metrics.inception_weights.URL", "file:///nowhere/weights.pth"
    )
    config.eval.metrics = "fid"
    with pytest.raises(UserError, match="put that file there"):
        evaluate(config, workdir)


def test_new_weights_under_a_name_are_measured_again(config, evaluated):
    workdir, _ = evaluated
    first = {r["snapshot"]: r["values"] for r in records(workdir)}
    folder = sorted((workdir / "snapshots").glob("*_r*"))[-1]
    params, info = read_snapshot(folder)
    write_snapshot(folder, jax.tree.map(lambda x: x * 1.5, params), info)
    before = len(records(workdir))
    evaluate(config, workdir)
    new = records(workdir)[before:]
    assert {r["snapshot"] for r in new} == {folder.name}
    assert new[-1]["values"] != first[folder.name]


def test_a_snapshot_that_diverged_leaves_the_others_their_rows(config, workdir, capsys):
    folder = sorted((workdir / "snapshots").glob("*_r*"))[-1]
    params, info = read_snapshot(folder)
    write_snapshot(folder, jax.tree.map(lambda x: x * np.nan, params), info)
    newer = folder.with_name("000009_r016")
    write_snapshot(newer, params, info)
    rows = {
        line.split()[0]: line.split() for line in evaluate(config, workdir).splitlines()
    }
    assert len(rows[folder.name]) == 2  # Name and kimg, no value.
    assert len(rows[newer.name]) > 2
    assert (
        f"snapshot {folder.name}: its images are not finite" in capsys.readouterr().err
    )
    config.eval.snapshot = folder.name
    with pytest.raises(UserError, match="its images are not finite"):
        evaluate(config, workdir)


def test_too_few_images_for_the_row_of_real_images_leave_it_empty_with_a_warning(
    config, workdir, capsys, monkeypatch
):
    monkeypatch.setattr(Measurer, "measure", lambda *_: {"swd_average": 1.0})
    config.eval.num_images = 900
    config.eval.metrics = "swd"
    table = evaluate(config, workdir).splitlines()
    assert next(line for line in table if line.startswith("reals")).split() == ["reals"]
    assert "lower config.eval.num_images to 898 or less" in capsys.readouterr().err


def test_the_folder_of_a_snapshot_is_no_run(config, workdir):
    folder = sorted((workdir / "snapshots").glob("*_r*"))[-1]
    with pytest.raises(UserError, match="this is a snapshot; name its run"):
        evaluate(config, folder)


def test_metrics_are_read_once_each_in_their_order():
    assert parse_metrics("fid, swd,fid") == ("fid", "swd")


def test_truncations_are_read_once_each_in_their_order():
    assert parse_truncation("1, 0.7,-1,0.7") == (1, 0.7, -1)


def test_headings_mark_what_shares_the_discriminators_pretraining(
    tiny_xl, tmp_path, monkeypatch
):
    module = "progan_jax.metrics.features"
    stub = SimpleNamespace(weights=Weights("inception", {}))
    monkeypatch.setattr(f"{module}.load_inception", lambda file: stub.weights)
    monkeypatch.setattr(f"{module}.require_tap", lambda weights, tap: None)
    monkeypatch.setattr(f"{module}.InceptionExtractor", lambda *_, **__: stub)
    tiny_xl.eval.metrics, tiny_xl.eval.num_images = "swd,fid", 16
    mesh = make_mesh(jax.devices()[:1])
    _, swd, fid = Evaluation(tiny_xl, tmp_path, coloured_digits(), mesh).headings()
    assert swd == "swd: 16 images"
    assert fid.endswith("resize tf1, shares pretraining with the discriminator")
