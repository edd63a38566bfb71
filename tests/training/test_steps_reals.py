import jax.numpy as jnp
import numpy as np
import pytest

from progan_jax.training.steps import prepare_reals


def bytes_of(n):
    return np.random.default_rng(0).integers(0, 256, (n, 8, 8, 3), np.uint8)


def faded(images, mirror, alpha):
    x = images.astype(np.float64) / 127.5 - 1
    x = np.stack([i[:, ::-1] if m else i for i, m in zip(x, mirror, strict=True)])
    n, h, w, c = x.shape
    means = x.reshape(n, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))
    return (1 - alpha) * means.repeat(2, axis=1).repeat(2, axis=2) + alpha * x


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_real_images_are_ranged_mirrored_and_faded(alpha):
    images = bytes_of(4)
    mirror = np.array([True, False, True, False])
    ours = prepare_reals(images, mirror, jnp.float32(alpha))
    np.testing.assert_allclose(ours, faded(images, mirror, alpha), atol=1e-6)
    coarse = prepare_reals(images, mirror, jnp.float32(alpha), requantise=True)
    steps = (np.asarray(coarse) + 1) * 127.5
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-4)
    np.testing.assert_allclose(coarse, ours, atol=0.51 / 127.5)


def test_noise_is_added_to_the_bytes_after_they_are_rounded():
    images, mirror = bytes_of(2), np.array([True, False])
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, images.shape)
    alpha = jnp.float32(0.3)
    for requantise in (False, True):
        plain = prepare_reals(images, mirror, alpha, requantise)
        noisy = prepare_reals(images, mirror, alpha, requantise, jnp.asarray(noise))
        bytes_without, bytes_with = (np.asarray(x) * 127.5 for x in (plain, noisy))
        np.testing.assert_allclose(bytes_with - bytes_without, noise, atol=1e-4)
