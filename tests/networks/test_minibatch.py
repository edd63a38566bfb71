import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from progan_jax.networks.minibatch import minibatch_stddev


@pytest.fixture(autouse=True)
def strict_dtypes():
    with jax.numpy_dtype_promotion("strict"):
        yield


def normal(shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def stddev_by_loops(x, group):
    values = []
    for start in range(0, len(x), group):
        members = x[start : start + group].astype(np.float64)
        total = 0.0
        for index in np.ndindex(*x.shape[1:]):
            column = [m[index] for m in members]
            mean = sum(column) / group
            variance = sum((v - mean) ** 2 for v in column) / group
            total += math.sqrt(variance + 1e-8)
        values += [total / np.prod(x.shape[1:])] * group
    return np.array(values)


@pytest.mark.parametrize(
    ("group", "effective"), [(4, 4), (2, 2), (0, 8), (8, 8), (16, 8)]
)
def test_minibatch_stddev_is_the_mean_deviation_of_consecutive_groups(group, effective):
    x = normal((8, 2, 2, 3))
    out, value = minibatch_stddev(x, group)
    expected = stddev_by_loops(x, effective)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert np.array_equal(out[..., :3], x)
    for image, number in zip(np.asarray(out[..., 3]), expected, strict=True):
        np.testing.assert_allclose(image, np.full((2, 2), number), rtol=1e-6)


def test_minibatch_stddev_refuses_a_broken_group():
    with pytest.raises(
        ValueError, match=r"batch of 6 images is no multiple .* group 4"
    ):
        minibatch_stddev(normal((6, 4, 4, 2)), 4)


def test_minibatch_stddev_of_equal_images_has_finite_gradients():
    x = jnp.ones((4, 2, 2, 3))
    assert np.isfinite(jax.grad(lambda x: minibatch_stddev(x, 4)[1].sum())(x)).all()
