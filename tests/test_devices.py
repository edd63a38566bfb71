"""Runs that continue with another number of devices than they were begun with."""

import json

import numpy as np
import orbax.checkpoint as ocp
import pytest

from progan_jax.train import train
from progan_jax.training.stage import StageProgram


class Crash(Exception):
    """Stands for a kill: nothing of the loop runs after it."""


@pytest.fixture
def config(tiny_config):
    """20 pairs of 32 images: 6 at 4x4, 4 in the fade to 8x8 and 10 after it."""
    tiny_config.model.resolution = 8
    tiny_config.model.dtype = "float64"
    tiny_config.schedule.batch_size = "32"
    tiny_config.schedule.quantum_pairs = 1
    tiny_config.schedule.stabilise_kimg = tiny_config.schedule.fade_kimg = "0.16"
    tiny_config.schedule.total_kimg = 0.64
    # Two pairs a tick, and a checkpoint after each.
    tiny_config.train.tick_kimg = "0.064"
    return tiny_config


def train_on(config, devices, workdir):
    config.runtime.num_devices = devices
    train(config, workdir)


def crash_at(nimg, monkeypatch):
    run = StageProgram.run

    def run_or_crash(self, state, at, num_pairs):
        if at >= nimg:
            raise Crash
        return run(self, state, at, num_pairs)

    monkeypatch.setattr(StageProgram, "run", run_or_crash)


def saved(workdir):
    return sorted(int(f.name) for f in (workdir / "checkpoints").glob("[0-9]*"))


def arrays(workdir):
    """Returns every array of the newest checkpoint, read by Orbax alone."""
    with ocp.CheckpointManager(workdir / "checkpoints") as manager:
        args = ocp.args.Composite(state=ocp.args.StandardRestore())
        return manager.restore(saved(workdir)[-1], args=args)["state"]


def rows(workdir):
    lines = (workdir / "stats.jsonl").read_text().splitlines()
    return [json.loads(line)["Progress/nimg"] for line in lines]


@pytest.mark.slow
# Before growth, so that the other devices grow, and after it, in the midst of the fade.
@pytest.mark.parametrize(
    ("first", "then", "nimg", "group"), [(8, 1, 128, 4), (1, 8, 256, 0)]
)
def test_a_run_continues_with_other_devices_as_if_it_had_always_had_them(
    config, tmp_path, monkeypatch, float64, first, then, nimg, group
):
    config.model.mbstd_group_size = group
    with monkeypatch.context() as patch:
        crash_at(nimg, patch)
        with pytest.raises(Crash):
            train_on(config, first, tmp_path / "run")
    assert saved(tmp_path / "run")[-1] == nimg
    train_on(config, then, tmp_path / "run")
    train_on(config, 1, tmp_path / "undisturbed")
    assert rows(tmp_path / "run") == rows(tmp_path / "undisturbed")
    assert saved(tmp_path / "run") == saved(tmp_path / "undisturbed")
    mine, whole = arrays(tmp_path / "run"), arrays(tmp_path / "undisturbed")
    assert mine.keys() == whole.keys()
    for name, array in mine.items():
        np.testing.assert_allclose(array, whole[name], rtol=1e-9, atol=1e-9)
