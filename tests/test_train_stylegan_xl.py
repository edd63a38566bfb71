"""Whole runs of StyleGAN-XL: frozen networks of a file, stops, exact resumes."""

import hashlib
import json

import jax
import numpy as np
import pytest

from progan_jax.data import sources
from progan_jax.errors import UserError
from progan_jax.inference.snapshot import list_snapshots, read_snapshot
from progan_jax.train import train
from tests.test_train import Crash, assert_same_run, crash, final_state, interrupt
from tests.tiny_xl import coloured_digits, write_lite0

pytestmark = pytest.mark.usefixtures("shared_programs")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_lite0(tmp_path_factory.mktemp("weights") / "lite0.safetensors")


@pytest.fixture
def config(tiny_xl, weights, monkeypatch):
    """12 pairs of 8 images, in three ticks."""
    monkeypatch.setattr(sources, "load", lambda *_: coloured_digits())
    tiny_xl.model.backbone_weights = f"lite0={weights}"
    tiny_xl.schedule.total_kimg = 0.096
    return tiny_xl


def record_of(workdir):
    return json.loads((workdir / "config.json").read_text())["frozen_files"]


@pytest.mark.slow
def test_a_killed_run_continues_bit_for_bit(config, weights, tmp_path, monkeypatch):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(config, whole)
    with monkeypatch.context() as patch:
        interrupt(patch, 3, crash)
        with pytest.raises(Crash):
            train(config, stopped)
    # The weights may have moved meanwhile.
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(weights.read_bytes())
    config.model.backbone_weights = f"lite0={moved}"
    train(config, stopped)
    assert_same_run(config, whole, stopped)
    state, _ = final_state(config, whole)
    assert state.pairs == 12 and np.abs(state.g_stats["w_average"]).max() > 1e-4
    assert state.loss_state["path_length"] > 0
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    names = {whole: weights.name, stopped: moved.name}
    for folder, name in names.items():
        files = {"lite0": {"file": name, "sha256": sha256}}
        assert record_of(folder) == files
        trained, info = read_snapshot(list_snapshots(folder)[-1])
        assert info["frozen_files"] == files
        stats = trained.pop("stats")
        jax.tree.map(np.testing.assert_array_equal, trained, state.g_ema)
        jax.tree.map(np.testing.assert_array_equal, stats, state.g_ema_stats)
    # Other weights are those of another run.
    other = write_lite0(tmp_path / "other.safetensors", superfluous=np.zeros(3, "f4"))
    config.model.backbone_weights = f"lite0={other}"
    with pytest.raises(
        UserError, match=f"begun with {moved.name} with SHA-256 {sha256}"
    ):
        train(config, stopped)


def test_missing_weights_are_reported_before_a_folder_is_begun(config, tmp_path):
    config.model.backbone_weights = "lite0=/none.pth"
    with pytest.raises(UserError, match="there is no such file") as error:
        train(config, tmp_path / "run")
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "run").exists()
