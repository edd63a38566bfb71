"""Whole runs of StyleGAN: growth with mixing and noise, stops, exact resumes."""

import jax
import numpy as np
import pytest

from progan_jax.inference.snapshot import list_snapshots, read_snapshot
from progan_jax.train import train
from progan_jax.training.steps import Steps
from tests.test_train import Crash, assert_same_run, crash, final_state, interrupt

pytestmark = pytest.mark.usefixtures("shared_programs")

RUN, TRACED = Steps.run, []


def counted(self, *arguments):
    TRACED.append(self.generator.resolution)
    return RUN(self, *arguments)


@pytest.fixture
def config(tiny_stylegan, monkeypatch):
    """8 pairs at 4x4, in the fade to 8x8, after it, in the fade to 16x16, and after."""
    # In all tests, which share their programs only with the same function.
    monkeypatch.setattr(Steps, "run", counted)
    tiny_stylegan.schedule.start_resolution = 4
    tiny_stylegan.model.style_mixing = 0.5
    return tiny_stylegan


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return tmp_path_factory.mktemp("reference") / "run"


@pytest.fixture
def finished(reference, config):
    """The run that is never stopped."""
    if not reference.exists():
        train(config, reference)
    return reference


def test_a_run_grows_with_one_program_for_each_resolution(finished, config):
    assert TRACED == [4, 8, 16]
    state, meta = final_state(config, finished)
    assert meta["resolution"] == 16 and state.pairs == 40
    *_, newest = list_snapshots(finished)
    weights, info = read_snapshot(newest)
    assert info["family"] == "stylegan" and info["stage"]["resolution"] == 16
    stats = weights.pop("stats")
    jax.tree.map(np.testing.assert_array_equal, weights, state.g_ema)
    jax.tree.map(np.testing.assert_array_equal, stats, state.g_ema_stats)
    assert np.abs(stats["w_average"]).max() > 1e-4
    # The noise of every layer has been trained.
    for r in (4, 8, 16):
        for layer in weights["synthesis"][f"block_{r}x{r}"].values():
            assert np.abs(layer["noise_strength"]).max() > 1e-4


def train_after_a_crash(config, workdir, monkeypatch, after):
    """Trains to the end in two parts, the first of which crashes after dispatches."""
    with monkeypatch.context() as patch:
        interrupt(patch, after, crash)
        with pytest.raises(Crash):
            train(config, workdir)
    train(config, workdir)


# In the fade to 8x8, and after that to 16x16.
@pytest.mark.parametrize("after", [4, 10])
def test_a_killed_run_continues_bit_for_bit(
    finished, config, tmp_path, monkeypatch, after
):
    workdir = tmp_path / "run"
    # Fewer checkpoints than ticks, so that ticks are run again.
    config.train.checkpoint_ticks = 2
    train_after_a_crash(config, workdir, monkeypatch, after)
    assert_same_run(config, finished, workdir)


@pytest.mark.slow
def test_a_run_from_8_to_32_killed_in_its_last_fade_continues_bit_for_bit(
    config, tmp_path, monkeypatch
):
    config.schedule.start_resolution, config.model.resolution = 8, 32
    TRACED.clear()
    train(config, tmp_path / "whole")
    assert TRACED == [8, 16, 32]
    train_after_a_crash(config, tmp_path / "run", monkeypatch, 7)
    assert_same_run(config, tmp_path / "whole", tmp_path / "run")
