"""Directions against linear maps that are known, and against NumPy's SVD."""

import jax
import numpy as np
import pytest

from progan_jax.display.directions import (
    decompose,
    find_directions,
    find_style_directions,
    fit_slopes,
)
from tests.styled import styled


def test_the_slopes_of_a_linear_map_are_found_whatever_is_constant_or_even():
    rng = np.random.default_rng(1)
    known = rng.standard_normal((6, 11))

    def layers(z):
        return z @ known + 5 + (z**2) @ np.abs(known)

    np.testing.assert_allclose(fit_slopes(layers, 6, 1), known, atol=1e-5)


def test_odd_terms_enter_by_what_they_share_with_a_line():
    # On the sphere of radius sqrt(d), E[z^4] is 3 d / (d + 2): the slope of z^3.
    slopes = fit_slopes(lambda z: z**3, 10, 400)
    np.testing.assert_allclose(np.diag(slopes), 30 / 12, rtol=0.1)
    assert np.abs(slopes - np.diag(np.diag(slopes))).max() < 0.15


def test_directions_are_the_singular_vectors_that_numpy_finds():
    slopes = np.random.default_rng(2).standard_normal((7, 20))
    found = decompose(slopes, 3)
    vectors, values, _ = np.linalg.svd(slopes, full_matrices=False)
    np.testing.assert_allclose(
        np.abs(found.vectors @ vectors), np.eye(3, 7), atol=1e-10
    )
    np.testing.assert_allclose(found.shares, (values**2 / (values**2).sum())[:3])
    assert all(v[np.abs(v).argmax()] > 0 for v in found.vectors)
    assert len(decompose(slopes, 99).vectors) == 7


@pytest.mark.parametrize("classes", [0, 3])
def test_directions_of_a_linear_generator_are_its_singular_vectors(
    make_generator, classes
):
    generator = make_generator(
        g_slope=1.0, pixel_norm=False, normalize_latents=False, num_classes=classes
    )
    found = find_directions(generator, 4)
    # Its columns are its answers to unit vectors, less that to zero.
    latents = np.concatenate([np.eye(8), np.zeros((1, 8))]).astype(np.float32)
    labels = jax.nn.one_hot(np.zeros(9, int), classes) if classes else None
    _, state = generator.network.apply(
        {"params": generator.params},
        latents,
        labels,
        1.0,
        capture_intermediates=True,
        mutable=["intermediates"],
    )
    maps = np.asarray(state["intermediates"]["block_8x8"]["__call__"][0]).reshape(9, -1)
    vectors, values, _ = np.linalg.svd(maps[:8] - maps[8], full_matrices=False)
    np.testing.assert_allclose(
        np.abs(found.vectors @ vectors[:, :4]), np.eye(4), atol=1e-3
    )
    np.testing.assert_allclose(
        found.shares, (values**2 / (values**2).sum())[:4], rtol=1e-3
    )


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_the_latent_that_changes_the_images_most_is_the_first(make_generator, norm):
    def amplify_the_fifth(params):
        kernel = params["block_4x4"]["dense"]["kernel"].copy()
        kernel[4] *= 20
        params["block_4x4"]["dense"]["kernel"] = kernel
        return params

    generator = make_generator(amplify_the_fifth, g_norm=norm)
    found = find_directions(generator, 2)
    assert found.vectors[0, 4] > 0.98
    assert found.shares[0] > 0.8
    again = find_directions(generator, 2)
    np.testing.assert_array_equal(found.vectors, again.vectors)


def test_directions_of_w_are_its_principal_components_within_a_class():
    g = styled("fused")
    found = find_style_directions(g, 4)
    latents = np.random.default_rng(5).standard_normal((8000, 16))
    labels = np.arange(8000) % 5
    w = g.mapping(latents, labels).astype(np.float64)
    for label in range(5):
        w[labels == label] -= w[labels == label].mean(axis=0)
    lengths = np.linalg.norm(found.vectors, axis=1)
    along = w @ (found.vectors / lengths[:, None]).T
    np.testing.assert_allclose(lengths, along.std(axis=0), rtol=0.1)
    np.testing.assert_allclose(np.corrcoef(along.T), np.eye(4), atol=0.1)
    values = np.linalg.svd(w / np.sqrt(8000), compute_uv=False)
    np.testing.assert_allclose(lengths, values[:4], rtol=0.1)
    shares = np.square(values) / np.square(values).sum()
    np.testing.assert_allclose(found.shares, shares[:4], rtol=0.15)
