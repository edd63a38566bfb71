"""StyleGAN's steps on several devices: noise, mixing and the average of w."""

import jax
import numpy as np
import pytest

from progan_jax.data.sources import load_digits
from progan_jax.runtime.compiler import collectives, host_transfers
from tests.training.test_stage import RELATIVISTIC, program, train_over_growth

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
@pytest.mark.parametrize("changes", [{}, RELATIVISTIC])
def test_twenty_pairs_with_growth_are_the_same_on_eight_devices(
    config, pyramid, float64, own_emitters, changes
):
    config.update_from_flattened_dict(changes)
    config.model.dtype = "float64"
    one, eight = (arrays(train_over_growth(config, n, pyramid)) for n in (1, 8))
    for path, array in one.items():
        # Instance norm takes away the bias of the constant, whose pixels are alike: its
        # gradient is 0 but for rounding, which Adam divides by an epsilon of 1e-8.
        close = 1e-7 if path.endswith("constant/bias") else 1e-9
        np.testing.assert_allclose(
            array, eight[path], rtol=1e-9, atol=close, err_msg=path
        )
    # The mean of w is that of the global batch; the authors keep one device's.
    assert np.abs(one["g_stats/w_average"]).max() > 1e-3
    strengths = [np.abs(a).max() for p, a in one.items() if p.endswith("strength")]
    assert max(strengths) > 1e-3


def arrays(state):
    """Returns all arrays of a state by path."""
    assert state.pairs == 20 and state.sums["d_skipped"] == state.sums["g_skipped"] == 0
    groups = {
        name: getattr(state, name)
        for name in ("g_params", "d_params", "g_ema", "g_opt", "d_opt")
    }
    groups |= {"g_stats": state.g_stats, "g_ema_stats": state.g_ema_stats}
    leaves, _ = jax.tree_util.tree_flatten_with_path(groups)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in leaves
    }


def test_compiled_steps_have_no_collective_but_all_reduce(config, pyramid):
    stage = program(config, 8, 8)
    text = stage._compile(pyramid.levels[8].shape).as_text()
    assert collectives(text).keys() == {"all-reduce"}
    assert not host_transfers(text)
