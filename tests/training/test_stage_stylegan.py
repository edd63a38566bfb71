"""StyleGAN's steps on several devices: noise, mixing and the average of w."""

import jax
import numpy as np
import pytest

from progan_jax.data.sources import load_digits
from progan_jax.runtime.compiler import collectives, host_transfers
from progan_jax.training.state import TrainState
from tests.training.test_stage import (
    assert_same_training,
    program,
    train_over_growth,
)

pytestmark = pytest.mark.usefixtures("shared_programs")


@pytest.fixture(scope="module")
def pyramid():
    return load_digits(8)


@pytest.fixture
def config(tiny_stylegan):
    """A stage at 4x4 of 320 images, and a fade to 8x8 of as many."""
    tiny_stylegan.model.resolution = 8
    tiny_stylegan.schedule.start_resolution = 4
    tiny_stylegan.schedule.batch_size = "32"  # On 8 devices: groups of 4.
    tiny_stylegan.schedule.stabilise_kimg = "0.32"
    tiny_stylegan.schedule.fade_kimg = "0.32"
    tiny_stylegan.schedule.total_kimg = 100.0
    return tiny_stylegan


@pytest.mark.slow
def test_twenty_pairs_with_growth_are_the_same_on_eight_devices(
    config, pyramid, float64, own_emitters
):
    config.model.dtype = "float64"
    one, eight = (train_over_growth(config, n, pyramid) for n in (1, 8))
    assert_same_training(one, eight)
    # The mean of w is that of the global batch; the authors keep one device's.
    for name in ("g_stats", "g_ema_stats"):
        mine, theirs = (jax.tree.leaves(getattr(s, name)) for s in (one, eight))
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
    assert np.abs(one.g_stats["w_average"]).max() > 1e-3
    assert noise_strengths(one).max() > 1e-3


def noise_strengths(state: TrainState):
    """Returns the absolute strengths of all layers' noise, which begin at 0."""
    flat, _ = jax.tree_util.tree_flatten_with_path(state.g_params)
    return np.concatenate(
        [np.abs(leaf) for path, leaf in flat if path[-1].key == "noise_strength"]
    )


def test_compiled_steps_have_no_collective_but_all_reduce(config, pyramid):
    stage = program(config, 8, 8)
    text = stage._compile(pyramid.levels[8].shape).as_text()
    assert collectives(text).keys() == {"all-reduce"}
    assert not host_transfers(text)
