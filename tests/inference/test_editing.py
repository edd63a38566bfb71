"""Edits against the generator's own methods."""

import numpy as np
import pytest

from progan_jax.errors import UserError
from progan_jax.inference.editing import (
    Direction,
    edit,
    move,
    read_direction,
    write_direction,
)
from tests.inference.test_projection import make_generator
from tests.styled import styled


def latents(n=2, size=16):
    return np.random.default_rng(0).standard_normal((n, size)).astype(np.float32)


def direction(size=16):
    return Direction(np.random.default_rng(1).standard_normal(size, np.float32), 0.9)


def test_w_moves_along_the_direction_before_it_is_truncated():
    g, z, way = styled("fused"), latents(), direction()
    images = edit(g, z, way, [0, 2.5], [1, 3], truncation_psi=0.5, noise="fixed")
    assert images.shape == (2, 2, 16, 16, 3)
    for strength, shown in zip((0, 2.5), images, strict=True):
        w = g.mapping(z, [1, 3]) + np.float32(strength) * way.vector
        w = g.truncate(w, 0.5, label=[1, 3])
        expected = g.synthesis(w, noise="fixed")
        np.testing.assert_allclose(shown, expected, rtol=1e-4, atol=1e-5)
    whole = g(z, [1, 3], truncation_psi=0.5, noise="fixed")
    np.testing.assert_allclose(images[0], whole, rtol=1e-4, atol=1e-5)


def test_only_the_layers_that_are_named_move():
    g, z, way = styled("plain"), latents(), direction()
    style = {"truncation_psi": 1.0, "noise": "none"}
    images = edit(g, z, way, [2.0], layers="0-1", **style)[0]
    w = np.repeat(g.mapping(z)[:, None], g.num_layers, axis=1)
    w[:, :2] += np.float32(2) * way.vector
    expected = g.synthesis(w, noise="none")
    np.testing.assert_allclose(images, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="layers=0-99: layers are numbered from 0 to"):
        edit(g, z, way, [1.0], layers="0-99")


def test_z_of_a_progressive_gan_moves_and_keeps_its_length():
    g, z = make_generator("progan"), latents(2, 8)
    way = Direction(np.eye(8, dtype=np.float32)[2], 0.9)
    images = edit(g, z, way, [-3, 0])
    np.testing.assert_array_equal(images[1], g(z))
    moved = z - 3 * np.eye(8, dtype=np.float32)[2]
    moved *= np.linalg.norm(z, axis=1, keepdims=True) / np.linalg.norm(
        moved, axis=1, keepdims=True
    )
    np.testing.assert_allclose(images[0], g(moved), rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="layers=coarse is for style-based generators"):
        edit(g, z, way, [1], layers="coarse")


def test_a_direction_is_read_as_it_was_written(tmp_path):
    way = direction()
    write_direction(tmp_path / "new" / "smile.npz", way)
    found = read_direction(tmp_path / "new" / "smile.npz", styled("plain"))
    np.testing.assert_array_equal(found.vector, way.vector)
    assert found.agreement == way.agreement


def test_directions_that_do_not_fit_are_one_line(tmp_path):
    write_direction(tmp_path / "of_8.npz", direction(8))
    (tmp_path / "bad.npz").write_bytes(b"PK no direction")
    np.savez(tmp_path / "other.npz", w=np.zeros(3))
    for name, message in (
        ("of_8", r"has the shape \[8\], and that of it must have \[16\]"),
        *[
            (name, "it cannot be read as a direction")
            for name in ("bad", "other", "no")
        ],
    ):
        with pytest.raises(UserError, match=message) as caught:
            read_direction(tmp_path / f"{name}.npz", styled("plain"))
        assert "\n" not in str(caught.value)


def test_a_move_keeps_the_length_and_begins_along_its_direction():
    rng = np.random.default_rng(3)
    latent = rng.standard_normal(12).astype(np.float32)
    vectors = np.linalg.qr(rng.standard_normal((12, 2)))[0].T
    for amounts in ([8.0, -3.0], [1e-3, 0.0]):
        moved = move(latent, vectors, np.array(amounts))
        assert np.linalg.norm(moved) == pytest.approx(np.linalg.norm(latent))
    step = 1e-2
    slope = move(latent, vectors, np.array([step, 0])) - latent.astype(np.float64)
    unit = latent / np.linalg.norm(latent)
    expected = vectors[0] - (vectors[0] @ unit) * unit
    np.testing.assert_allclose(slope / step, expected, atol=5e-3)


def test_no_move_is_the_latent_bit_for_bit():
    latent = np.random.default_rng(4).standard_normal(5).astype(np.float32)
    moved = move(latent, np.eye(5)[:2], np.zeros(2))
    np.testing.assert_array_equal(moved, latent)
