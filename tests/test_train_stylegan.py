"""Whole runs of StyleGAN: growth with mixing and noise, stops, exact resumes."""

import jax
import numpy as np
import pytest

from progan_jax.inference.snapshot import list_snapshots, read_snapshot
from progan_jax.train import train
from progan_jax.training.steps import Steps
from tests.test_train import Crash, assert_same_run, crash, final_state, interrupt

pytestmark = pytest.mark.usefixtures("shared_programs")

TRACED = []


@pytest.fixture
def config(tiny_stylegan):
    """8 pairs at 8x8, in the fade to 16x16, after it, in the fade to 32x32, after."""
    tiny_stylegan.model.resolution = 32
    tiny_stylegan.model.fmap_base = 64
    tiny_stylegan.model.style_mixing = 0.5
    return tiny_stylegan


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return tmp_path_factory.mktemp("reference") / "run"


@pytest.fixture
def finished(reference, config, monkeypatch):
    """The run that is never stopped."""
    run = Steps.run

    def counted(self, *arguments):
        TRACED.append(self.generator.resolution)
        return run(self, *arguments)

    if not reference.exists():
        with monkeypatch.context() as patch:
            patch.setattr(Steps, "run", counted)
            train(config, reference)
    return reference


def test_a_run_grows_with_one_program_for_each_resolution(finished, config):
    assert TRACED == [8, 16, 32]
    state, meta = final_state(config, finished)
    assert meta["resolution"] == 32 and state.pairs == 40
    *_, newest = list_snapshots(finished)
    weights, info = read_snapshot(newest)
    assert info["family"] == "stylegan" and info["stage"]["resolution"] == 32
    stats = weights.pop("stats")
    jax.tree.map(np.testing.assert_array_equal, weights, state.g_ema)
    jax.tree.map(np.testing.assert_array_equal, stats, state.g_ema_stats)
    assert np.abs(stats["w_average"]).max() > 1e-4
    # The noise of every layer has been trained.
    for r in (4, 8, 16, 32):
        for layer in weights["synthesis"][f"block_{r}x{r}"].values():
            assert np.abs(layer["noise_strength"]).max() > 1e-4


# In the fade to 16x16, and after that to 32x32.
@pytest.mark.parametrize("after", [4, 8])
def test_a_killed_run_continues_bit_for_bit(
    finished, config, tmp_path, monkeypatch, after
):
    workdir = tmp_path / "run"
    # Fewer checkpoints than ticks, so that ticks are run again.
    config.train.checkpoint_ticks = 2
    with monkeypatch.context() as patch:
        interrupt(patch, after, crash)
        with pytest.raises(Crash):
            train(config, workdir)
    train(config, workdir)
    assert_same_run(config, finished, workdir)
