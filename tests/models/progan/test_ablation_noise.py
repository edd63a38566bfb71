import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from progan_jax.models.progan.ablation import (
    Noise,
    follow_scores,
    multiply_noise,
    noise_strength,
)

pytestmark = pytest.mark.usefixtures("strict_dtypes")


class Multiply(nn.Module):
    """Multiplies its inputs by noise, so often."""

    times: int = 1

    @nn.compact
    def __call__(self, x, noise):
        return [multiply_noise(self, x, noise) for _ in range(self.times)]


def noise(n, strength=0.02):
    return Noise(jnp.float32(strength), jnp.arange(n))


def multiply(x, noise, seed=0):
    return Multiply().apply({}, x, noise, rngs={"noise": jax.random.key(seed)})[0]


def factors(noise, c, seed=0):
    """Returns what a layer of c maps is multiplied by, [N, C]."""
    n = noise.numbers.shape[0]
    return np.asarray(multiply(jnp.ones((n, 1, 1, c)), noise, seed))[:, 0, 0]


@pytest.mark.parametrize("c", [16, 100])
def test_factors_are_normal_around_one_with_deviation_strength_times_root_c(c):
    drawn = (factors(noise(20_000 // c), c) - 1) / (0.02 * np.sqrt(c))
    # 20 000 draws: five standard errors of mean, variance and fourth moment.
    assert abs(drawn.mean()) < 5 / np.sqrt(20_000)
    assert abs((drawn**2).mean() - 1) < 5 * np.sqrt(2 / 20_000)
    assert abs((drawn**4).mean() - 3) < 5 * np.sqrt(96 / 20_000)


def test_a_map_of_an_image_has_one_factor_and_another_than_all_others():
    x = jnp.asarray(np.random.default_rng(0).uniform(1, 2, (3, 4, 5, 6)), jnp.float32)
    ratio = np.asarray(multiply(x, noise(3)) / x)
    np.testing.assert_allclose(ratio, ratio[:, :1, :1] + 0 * ratio, rtol=1e-6)
    assert len(np.unique(factors(noise(3), 6))) == 18


def test_an_images_factors_do_not_depend_on_how_the_batch_is_split():
    whole = factors(noise(8), 5)
    part = factors(noise(8)._replace(numbers=jnp.arange(4, 6)), 5)
    assert np.array_equal(whole[4:6], part)


def test_other_keys_and_other_calls_of_a_layer_have_independent_factors():
    ones = jnp.ones((100, 1, 1, 64))
    drawn = [factors(noise(100), 64, seed) for seed in (0, 1)]
    rngs = {"noise": jax.random.key(0)}
    drawn += Multiply(times=3).apply({}, ones, noise(100), rngs=rngs)[1:]
    between = np.corrcoef([np.ravel(d) for d in drawn]) - np.eye(4)
    assert np.abs(between).max() < 5 / np.sqrt(6400)
    assert np.array_equal(drawn[1], factors(noise(100), 64, seed=1))


def test_no_noise_and_noise_of_no_strength_change_nothing():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 2, 4)), jnp.float32)
    assert multiply_noise(Multiply(), x, None) is x
    assert np.array_equal(multiply(x, noise(3, strength=0)), x)


def test_bfloat16_stays_so_and_has_the_same_factors():
    x = jnp.ones((3, 1, 1, 4), jnp.bfloat16)
    out = multiply(x, noise(3))
    assert out.dtype == jnp.bfloat16
    rounded = out[:, 0, 0].astype(jnp.float32)
    np.testing.assert_allclose(rounded, factors(noise(3), 4), rtol=2**-8)


def test_strength_is_the_square_of_what_is_above_a_half():
    for score, strength in ((0, 0), (0.5, 0), (0.75, 0.0125), (1, 0.05)):
        found = noise_strength(jnp.float32(score), 0.2)
        np.testing.assert_allclose(found, strength, rtol=1e-6)


def test_running_mean_takes_a_tenth_of_each_clipped_score():
    mean = jnp.float32(0)
    for score, expected in ((0.5, 0.05), (3, 0.145), (-2, 0.1305), (1, 0.21745)):
        mean = follow_scores(mean, jnp.float32(score))
        np.testing.assert_allclose(mean, expected, rtol=1e-6)
