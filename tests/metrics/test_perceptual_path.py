"""Perceptual path lengths: the authors' values, and those of snapshots."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from progan_jax.metrics.perceptual_path import (
    crop,
    filtered_mean,
    path_distances,
    slerp,
)
from tests.stylegan_golden import golden, networks, variables


def test_arcs_are_the_authors():
    ours = slerp(*(golden()[f"metrics/slerp_{name}"] for name in ("a", "b", "t")))
    np.testing.assert_allclose(ours, golden()["metrics/slerp_out"], atol=1e-6)


@pytest.mark.parametrize("which", ["a", "b"])
def test_means_without_outliers_are_the_authors(which):
    distances = golden()[f"metrics/filter_{which}_distances"]
    expected = golden()[f"metrics/filter_{which}_mean"]
    assert filtered_mean(distances) == pytest.approx(float(expected), rel=1e-7)


def test_distances_that_are_not_finite_are_an_error():
    with pytest.raises(ValueError, match="not finite"):
        filtered_mean(np.array([1.0, np.nan]))


def mean_square(a, b):
    """What the golden values have in place of LPIPS."""
    return jnp.mean(jnp.square(a - b), axis=(1, 2, 3))


@functools.cache
def compiled(space):
    epsilon = float(golden()["metrics/ppl_epsilon"])
    run = functools.partial(
        path_distances, networks("plain")[0], mean_square, space=space, epsilon=epsilon
    )
    return jax.jit(run)


@pytest.mark.parametrize("space", ["z", "w"])
@pytest.mark.parametrize("place", ["full", "end"])
def test_distances_and_lengths_are_the_authors(space, place):
    name = f"metrics/ppl_{space}{place}"
    generator, tree = networks("plain")[0], variables("plain", "G")
    for index in range(generator.num_layers):
        block = tree["stats"]["synthesis"][f"block_{4 << index // 2}x{4 << index // 2}"]
        layer = [("constant", "conv"), ("conv0", "conv1")][index > 1][index % 2]
        noise = golden()[f"{name}_noise/noise{index}"]
        assert block[layer]["noise"].shape == noise.shape[2:]
        block[layer]["noise"] = noise[0, 0]
    t = golden()["metrics/ppl_t"] * (place == "full")
    z, labels = golden()["metrics/ppl_latents"], np.zeros(12, np.int32)
    inputs = tree, np.float32(1), z, labels, t, jax.random.key(0)
    distances = compiled(space)(*inputs)
    np.testing.assert_allclose(distances, golden()[f"{name}_distances"], rtol=1e-4)
    length = filtered_mean(np.asarray(distances))
    assert length == pytest.approx(float(golden()[name]), rel=1e-4)


def test_crops_are_the_middle_of_faces_and_at_most_256_wide():
    rows = jnp.arange(1024.0).reshape(1, -1, 1, 1) + jnp.zeros((1, 1, 1024, 1))
    cut = np.asarray(crop(rows))
    assert cut.shape == (1, 256, 256, 1)
    # Rows 384 to 895, two at a time; columns 256 to 767.
    np.testing.assert_array_equal(cut[0, :, 0, 0], np.arange(384.5, 896, 2))
    columns = np.asarray(crop(rows.transpose(0, 2, 1, 3)))
    np.testing.assert_array_equal(columns[0, 0, :, 0], np.arange(256.5, 768, 2))
    assert crop(rows[:, :256, :256]).shape == (1, 128, 128, 1)
