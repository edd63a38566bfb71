"""The tool, as its user types it."""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from absl.testing import flagsaver

import progan_jax
from progan_jax.files import working_folder
from progan_jax.inference.snapshot import (
    digest,
    read_snapshot,
    read_trained,
    write_snapshot,
)
from tests import hub
from tests.measured_run import NAMES, run
from tests.pickles import dumps, golden_networks

ROOT = Path(__file__).parents[2]
__all__ = ["run"]


@pytest.fixture
def publish(import_tool, monkeypatch):
    """Publishes in the tests' own process."""
    tool = import_tool("publish")
    monkeypatch.setattr(tool, "keep_compiled", lambda: None)

    def call(model, out, **flags):
        with flagsaver.flagsaver(**flags):
            tool.main(str(model), str(out))

    return call


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_runs_snapshot_becomes_a_folder_with_its_metrics_and_fields(
    run, tmp_path, publish, capsys
):
    out = tmp_path / "made" / "digits"
    publish(run, out, licence="mit", snapshot=NAMES[0])
    assert capsys.readouterr().out.splitlines() == [
        f"{NAMES[0]} is published as {out}; licence mit",
        f"its weights have SHA-256 {sha256(out / 'generator.safetensors')}",
    ]
    assert progan_jax.load(out).resolution == 4
    card = (out / "README.md").read_text()
    settings = '{"truncation_psi": 1.0, "num_images": 512}'
    assert f"`swd`, measured with `{settings}`:" in card
    assert "| `swd_average` | `12.35` |" in card
    assert "77.7" not in card
    assert "| `model.fmap_max` | `8` | `512` |" in card
    assert "`optim.beta1`" not in card
    assert hub.files(out.parent) == ["digits"]


def test_a_name_that_ends_in_zip_becomes_a_zip_file_of_the_folder(
    run, tmp_path, publish
):
    for out in ("digits.zip", "folder"):
        publish(run, tmp_path / "made" / out, licence="mit")
    with zipfile.ZipFile(tmp_path / "made" / "digits.zip") as archive:
        found = {i.filename: archive.read(i) for i in archive.infolist()}
    folder = tmp_path / "made" / "folder"
    assert {name for name in found if not name.endswith("/")} == {
        path.name for path in folder.iterdir()
    }
    for name in ("generator.safetensors", "snapshot.json"):
        assert found[name] == (folder / name).read_bytes()
    assert b'progan_jax.load("path/to/digits.zip")' in found["README.md"]
    assert hub.files(tmp_path / "made") == ["digits.zip", "folder"]


def test_metrics_that_share_the_discriminators_pretraining_are_marked(
    run, tmp_path, publish
):
    folder = run / "snapshots" / NAMES[0]
    weights, info = read_snapshot(folder)
    info["frozen_files"] = {"lite0": {"file": "lite0.pth", "sha256": "0" * 64}}
    shutil.rmtree(folder)
    write_snapshot(folder, weights, info)
    record = {"snapshot": NAMES[0], "sha256": digest(folder), "nimg": 1000}
    records = [
        record | {"metric": metric, "settings": {}, "values": {metric: 1.0}}
        for metric in ("fid", "fd_dinov2", "swd")
    ]
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, records)) + "\n")
    publish(run, tmp_path / "out", licence="mit", snapshot=NAMES[0])
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.count("shares pretraining") == 1
    assert "`fid` (shares pretraining), measured with" in card


def test_a_repository_gets_the_newest_snapshot(
    run, tmp_path, monkeypatch, capsys, publish
):
    hub.install(monkeypatch, tmp_path / "hub")
    publish(run, "hf://me/digits", licence="cc0-1.0")
    expected = "published as https://huggingface.co/me/digits; licence cc0-1.0"
    assert capsys.readouterr().out.startswith(f"{NAMES[1]} is {expected}\n")
    card = (tmp_path / "hub/me/digits/README.md").read_text()
    assert "# digits\n" in card
    assert 'progan_jax.load("hf://me/digits")' in card
    assert "None was recorded for these weights." in card
    assert progan_jax.load("hf://me/digits").resolution == 8


def test_mistakes_end_in_one_line(run, tmp_path, publish):
    mit = {"licence": "mit"}
    for model, out, flags, message in [
        (run, tmp_path / "x", {}, "--licence is missing: give an identifier of the H"),
        (run, tmp_path, mit, f"OUT={tmp_path} already exists; choose"),
        (run, "s3://me/x", mit, "OUT=s3://me/x: it must be hf://USER/"),
        (tmp_path / "no", "x", mit, f"MODEL={tmp_path / 'no'}: there"),
        (run, run / "metrics.jsonl/x", mit, "OUT="),
        (run, "x", {"licence": "mit", "snapshot": "y"}, "--snapshot=y: "),
    ]:
        with pytest.raises(progan_jax.UserError) as caught:
            publish(model, out, **flags)
        assert str(caught.value).startswith(message)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "x").exists()


def test_whatever_load_opens_can_be_published(publish, tmp_path, monkeypatch, capsys):
    publish("cifar10", tmp_path / "ours")
    expected = f"cifar10 is published as {tmp_path / 'ours'}; licence apache-2.0\n"
    assert capsys.readouterr().out.startswith(expected)
    pickle = tmp_path / "theirs.pkl"
    pickle.write_bytes(dumps(golden_networks("fused")))
    publish(pickle, tmp_path / "theirs", with_training_nets=True)
    assert read_trained(tmp_path / "theirs").keys() == {"G", "D"}
    hub.install(monkeypatch, tmp_path / "hub")
    shutil.copytree(tmp_path / "theirs", tmp_path / "hub/me/net")
    publish("hf://me/net", tmp_path / "again")
    expected = (
        f"hf://me/net is published as {tmp_path / 'again'}; licence CC BY-NC 4.0\n"
    )
    assert expected in capsys.readouterr().out
    images = progan_jax.load(pickle).sample(2, seed=1)
    for folder in ("theirs", "again"):
        found = progan_jax.load(tmp_path / folder).sample(2, seed=1)
        np.testing.assert_array_equal(found, images)
    card = (tmp_path / "again" / "README.md").read_text()
    assert "## Imported from" in card
    assert "| `file` | `theirs.pkl` |" in card


def test_what_a_killed_publication_left_is_removed_by_the_next_one(
    run, publish, tmp_path
):
    script = f"""
import os, signal
from pathlib import Path
from progan_jax.files import working_folder
with working_folder(Path({str(tmp_path)!r}), ".publish") as folder:
    (folder / "model").mkdir()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT)
    assert len(list(tmp_path.glob(".publish*"))) == 1
    (tmp_path / ".publish_by_an_earlier_version" / "model").mkdir(parents=True)
    with working_folder(tmp_path, ".publish") as in_use:
        publish(run, tmp_path / "out", licence="mit")
        assert list(tmp_path.glob(".publish*")) == [in_use]
    assert not list(tmp_path.glob(".publish*"))
    assert hub.files(tmp_path / "out") == [
        *("README.md", "generator.safetensors", "samples.png", "snapshot.json")
    ]


def test_the_folder_of_an_import_is_gone_afterwards(publish, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    (tmp_path / "theirs.pkl").write_bytes(dumps(golden_networks("fused")))
    publish(tmp_path / "theirs.pkl", tmp_path / "out")
    assert not list((tmp_path / "tmp").iterdir())
