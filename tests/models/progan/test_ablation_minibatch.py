import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from progan_jax.models.layers import append_map, minibatch_stddev
from progan_jax.models.progan.ablation import MinibatchDiscrimination, calibrate

KERNELS = 3


pytestmark = pytest.mark.usefixtures("strict_dtypes")


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
    value = minibatch_stddev(x, group)
    expected = stddev_by_loops(x, effective)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    out = append_map(x, value)
    assert np.array_equal(out[..., :3], x)
    for image, number in zip(np.asarray(out[..., 3]), expected, strict=True):
        np.testing.assert_allclose(image, np.full((2, 2), number), rtol=1e-6)


def test_minibatch_stddev_refuses_a_broken_group():
    with pytest.raises(
        ValueError, match=r"batch of 6 images is not a multiple .* group 4"
    ):
        minibatch_stddev(normal((6, 4, 4, 2)), 4)


def test_minibatch_stddev_of_equal_images_has_finite_gradients():
    x = jnp.ones((4, 2, 2, 3))
    assert np.isfinite(jax.grad(lambda x: minibatch_stddev(x, 4).sum())(x)).all()


def trained(x, dtype=np.float32):
    """Parameters of a layer, moved away from what a new one has."""
    params = MinibatchDiscrimination(KERNELS).init(jax.random.key(0), x)["params"]
    moved = {
        "log_scale": normal(params["log_scale"].shape, 1, dtype) * dtype(0.3),
        "bias": normal(params["bias"].shape, 2, dtype),
    }
    return params | moved


def discriminate_by_loops(x, params):
    """Returns features [N, K], and distances [N, N, K] without those to oneself."""
    x, theta, log_scale, bias = (
        np.asarray(array, np.float64)
        for array in (x, params["theta"], params["log_scale"], params["bias"])
    )
    n, (_, kernels, size) = len(x), theta.shape
    features, distances = np.zeros((n, kernels)), np.full((n, n, kernels), np.inf)
    for k in range(kernels):
        columns = [
            theta[:, k, d] / math.sqrt((theta[:, k, d] ** 2).sum()) for d in range(size)
        ]
        seen = [
            [math.exp(log_scale[k, d]) * (image @ columns[d]) for d in range(size)]
            for image in x
        ]
        for i in range(n):
            features[i, k] = bias[k]
            for j in range(n):
                if i != j:
                    apart = sum(
                        abs(a - b) for a, b in zip(seen[i], seen[j], strict=True)
                    )
                    distances[i, j, k] = apart
                    features[i, k] += math.exp(-apart)
    return features, distances


def run(params, x):
    return MinibatchDiscrimination(KERNELS).apply({"params": params}, x)


def test_discrimination_appends_sums_of_nearness_to_the_other_images():
    x = normal((6, 8)) * np.float32(0.3)
    params = trained(x)
    out = run(params, x)
    assert out.shape == (6, 8 + KERNELS)
    assert np.array_equal(out[:, :8], x)
    expected, _ = discriminate_by_loops(x, params)
    np.testing.assert_allclose(out[:, 8:], expected, rtol=1e-5, atol=1e-5)


def test_a_new_discrimination_has_the_papers_values(key):
    params = MinibatchDiscrimination(100).init(key, normal((2, 512)))["params"]
    assert params["theta"].shape == (512, 100, 5)
    assert np.std(params["theta"]) == pytest.approx(0.05, rel=0.01)
    assert not params["log_scale"].any()
    assert (params["bias"] == -1).all()


def test_an_image_alone_has_no_neighbours():
    x = normal((1, 8))
    params = trained(x)
    np.testing.assert_allclose(run(params, x)[0, 8:], params["bias"], rtol=1e-6)


def test_gradients_of_discrimination_are_those_of_finite_differences(float64):
    x = normal((4, 3), dtype=np.float64)
    params = trained(x, np.float64)
    weights = normal((4, 3 + KERNELS), 3, np.float64)
    check_grads(
        jax.jit(lambda params, x: jnp.sum(weights * run(params, x))),
        (params, x),
        order=2,
        modes=["rev"],
        atol=1e-4,
        rtol=1e-4,
        eps=1e-6,
    )


def test_gradients_of_discrimination_are_finite_for_equal_images():
    x = jnp.ones((4, 8))
    run_sum = jax.jit(jax.grad(lambda *a: jnp.sum(run(*a)), (0, 1)))
    gradients = run_sum(trained(x), x)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_discrimination_of_bfloat16_is_computed_in_float32(key):
    x = jnp.asarray(normal((6, 64)), jnp.bfloat16)
    params = trained(x)
    assert params["theta"].dtype == jnp.float32
    out = run(params, x)
    assert out.dtype == jnp.bfloat16
    exact = run(params, x.astype(jnp.float32))
    np.testing.assert_allclose(out.astype(jnp.float32), exact, rtol=2**-8)


def test_calibration_follows_from_the_nearest_neighbours():
    x = normal((7, 8)) * np.float32(3)
    params = trained(x)
    _, distances = discriminate_by_loops(x, params)
    unit = distances.min(axis=1).mean(axis=0) / 2
    bias = -np.exp(-distances / unit).sum(axis=1).mean(axis=0)
    layer = MinibatchDiscrimination(KERNELS)
    found = layer.apply({"params": params}, x, mutable=["intermediates"])[1]
    new = calibrate(params, found["intermediates"]["distances"][0])
    scale = params["log_scale"] - np.log(unit)[:, None]
    np.testing.assert_allclose(new["log_scale"], scale, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(new["bias"], bias, rtol=1e-4)
    assert np.array_equal(new["theta"], params["theta"])
    # What it is for: nearest neighbours two apart, and features around zero.
    features, distances = discriminate_by_loops(x, new)
    np.testing.assert_allclose(distances.min(axis=1).mean(axis=0), 2, rtol=1e-4)
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-4)


def test_calibration_on_equal_images_is_finite():
    x = jnp.ones((4, 8))
    params = trained(x)
    layer = MinibatchDiscrimination(KERNELS)
    found = layer.apply({"params": params}, x, mutable=["intermediates"])[1]
    new = calibrate(params, found["intermediates"]["distances"][0])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(new))
