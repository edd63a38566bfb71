"""Random projections: shapes and sizes, and the order of their operations."""

import jax
import numpy as np
import pytest
import scipy.ndimage

from progan_jax.models.stylegan_xl.projections import (
    OUTPUTS,
    WIDTHS,
    ChannelMixing,
    ScaleMixing,
    enlarge2d,
)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


@pytest.mark.parametrize("shape", [(2, 7, 7, 3), (1, 4, 6, 2), (1, 2, 2, 1)])
def test_enlarging_keeps_corners_as_scipys_zoom(shape):
    x = draw(*shape)
    theirs = scipy.ndimage.zoom(x, (1, 2, 2, 1), order=1)
    ours = np.asarray(enlarge2d(x))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    np.testing.assert_allclose(ours[:, ::-1][:, :1, -1], x[:, -1:, -1], atol=1e-6)


def levels(sides, widths):
    pairs = zip(sides, widths, strict=True)
    return [draw(1, s, s, c, seed=c) for s, c in pairs]


def test_channels_are_mixed_within_each_pixel(key):
    given = levels((8, 4, 2, 1), (3, 4, 5, 6))
    mixed, variables = ChannelMixing().init_with_output(key, given)
    assert set(variables) == {"stats"}
    for k, x in enumerate(mixed):
        layer = variables["stats"][f"level{k}"]
        kernel, bias = np.asarray(layer["kernel"][0, 0]), np.asarray(layer["bias"])
        expected = np.einsum("nhwc,cf->nhwf", given[k], kernel) + bias
        assert x.shape[-1] == WIDTHS[k]
        np.testing.assert_allclose(x, expected, atol=1e-5)


def test_scales_are_mixed_from_deep_to_shallow_enlarged_first(key):
    """In the order of the authors' program, which enlarges before it convolves."""
    given = levels((16, 8, 4, 2), WIDTHS)
    mixed, variables = ScaleMixing().init_with_output(key, given)
    below = np.zeros_like(given[3])
    for k in (3, 2, 1, 0):
        layer = variables["stats"][f"level{k}"]
        enlarged = scipy.ndimage.zoom(given[k] + below, (1, 2, 2, 1), order=1)
        kernel, bias = np.asarray(layer["kernel"][0, 0]), np.asarray(layer["bias"])
        below = np.einsum("nhwc,cf->nhwf", enlarged, kernel) + bias
        assert mixed[k].shape[-1] == OUTPUTS[k]
        np.testing.assert_allclose(mixed[k], below, atol=2e-5)


def test_all_levels_have_weights_of_their_own(key):
    variables = ScaleMixing().init(key, levels((8, 4, 2, 1), WIDTHS))
    kernels = jax.tree.leaves(variables)
    assert len({float(np.ravel(k)[0]) for k in kernels}) == len(kernels) == 8
