"""The trained heads, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from progan_jax.models.stylegan_xl.heads import GroupedBatchNorm, Head, SpectralConv


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


@pytest.mark.parametrize("halve", [True, False])
def test_kernels_are_divided_by_their_largest_singular_value(key, halve):
    layer, x = SpectralConv(5, halve), draw(1, 8, 8, 3)
    variables = layer.init(key, x, True)
    step = jax.jit(lambda v: layer.apply(v, x, True, mutable=["stats"]))
    for _ in range(100):
        out, changed = step(variables)
        variables = variables | changed
    kernel = np.asarray(variables["params"]["kernel"])
    sigma = np.linalg.svd(kernel.reshape(-1, 5), compute_uv=False)[0]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))) if halve else x
    stride, expected = (2 if halve else 1), np.zeros(out.shape)
    for i, j in np.ndindex(out.shape[1:3]):
        rows, columns = (slice(stride * at, stride * at + 4) for at in (i, j))
        patch = padded[0, rows, columns]
        expected[0, i, j] = np.einsum("hwc,hwcf->f", patch, kernel) / sigma
    expected += np.asarray(variables["params"]["bias"]) if halve else 0
    assert ("bias" in variables["params"]) == halve
    np.testing.assert_allclose(out, expected, atol=1e-5)
    np.testing.assert_allclose(layer.apply(variables, x, False), expected, atol=1e-5)


def test_one_call_in_training_is_one_power_iteration(key):
    layer, x = SpectralConv(5), draw(1, 4, 4, 3)
    variables = layer.init(key, x, True)
    _, changed = layer.apply(variables, x, True, mutable=["stats"])
    matrix = np.asarray(variables["params"]["kernel"]).reshape(-1, 5)
    v = matrix @ variables["stats"]["u"]
    v /= np.linalg.norm(v)
    u = matrix.T @ v
    np.testing.assert_allclose(changed["stats"]["v"], v, atol=1e-6)
    np.testing.assert_allclose(changed["stats"]["u"], u / np.linalg.norm(u), atol=1e-6)
    _, same = layer.apply(variables, x, False, mutable=["stats"])
    jax.tree.map(np.testing.assert_array_equal, same["stats"], variables["stats"])


def test_gradients_flow_through_the_kernel_in_the_singular_value_alone(key):
    """d(W / s) with s = u' W v and fixed u and v after their step."""
    layer, x = SpectralConv(5, False), draw(1, 4, 4, 3)
    variables = layer.init(key, x, True)
    _, changed = layer.apply(variables, x, True, mutable=["stats"])
    u, v = (np.asarray(changed["stats"][name]) for name in "uv")
    weights = draw(5, seed=1)

    def loss(params):
        given = {"params": params, "stats": variables["stats"]}
        out, _ = layer.apply(given, x, True, mutable=["stats"])
        return jnp.vdot(out, weights)

    gradient = np.asarray(jax.grad(loss)(variables["params"])["kernel"])
    matrix = np.asarray(variables["params"]["kernel"]).reshape(-1, 5)
    sigma, by_kernel = v @ matrix @ u, np.outer(x.ravel(), weights)
    along = np.vdot(by_kernel, matrix) / sigma**2
    expected = by_kernel / sigma - along * np.outer(v, u)
    np.testing.assert_allclose(gradient.reshape(-1, 5), expected, atol=1e-4)


@pytest.mark.parametrize("group", [0, 2, 3, 6, 64])
def test_groups_are_normalised_apart(key, group):
    layer, x = GroupedBatchNorm(group), 3 * draw(6, 2, 2, 4) + 1
    variables = layer.init(key, x, True)
    out, changed = layer.apply(variables, x, True, mutable=["stats"])
    size, means, variances = min(group or 6, 6), [], []
    for start in range(0, 6, size):
        part = x[start : start + size].astype(np.float64)
        mean, variance = part.mean((0, 1, 2)), part.var((0, 1, 2))
        expected = (part - mean) / np.sqrt(variance + 1e-5)
        np.testing.assert_allclose(out[start : start + size], expected, atol=1e-5)
        means.append(mean)
        variances.append(part.var((0, 1, 2), ddof=1))
    stats = changed["stats"]
    np.testing.assert_allclose(stats["mean"], 0.1 * np.mean(means, 0), atol=1e-6)
    expected = 0.9 + 0.1 * np.mean(variances, 0)
    np.testing.assert_allclose(stats["variance"], expected, rtol=1e-5)


def test_evaluation_takes_the_averages(key):
    layer, x = GroupedBatchNorm(2), draw(3, 2, 2, 4)
    variables = layer.init(key, x[:2], True)
    stats = {"mean": jnp.full(4, 0.5), "variance": jnp.full(4, 4.0)}
    out = layer.apply(variables | {"stats": stats}, x[:2], False)
    np.testing.assert_allclose(out, (x[:2] - 0.5) / np.sqrt(4 + 1e-5), atol=1e-6)


def test_a_batch_that_groups_do_not_divide_is_refused(key):
    with pytest.raises(
        ValueError, match="batch of 3 images is not a multiple of the 2"
    ):
        GroupedBatchNorm(2).init(key, draw(3, 2, 2, 4), True)


def shapes_of(head, side, channels, labels):
    x = jax.ShapeDtypeStruct((2, side, side, channels), np.float32)
    key = jax.random.key(0)
    return jax.eval_shape(lambda x: head.init_with_output(key, x, labels, True), x)


def test_numbers_of_parameters_are_the_authors():
    """Per backbone; 1,362,176 of them are the classes' tables and layers."""
    counts = {}
    for classes in (1000, 0):
        labels, count = (jnp.zeros(2, int) if classes else None), 0
        for level, (side, channels) in enumerate(
            [(112, 64), (56, 64), (28, 128), (14, 256)]
        ):
            logits, variables = shapes_of(Head(level, classes), side, channels, labels)
            assert logits.shape == (2, 16)
            count += sum(x.size for x in jax.tree.leaves(variables["params"]))
        counts[classes] = count
    assert counts[1000] == 13_757_888
    # Without classes the last kernel has one output, and not 64.
    assert counts[0] == 13_757_888 - 1_362_176 - 4 * 63 * 512 * 16


@pytest.mark.parametrize(("side", "logits"), [(128, 25), (48, 9), (32, 1), (4, 1)])
def test_blocks_end_where_the_map_would_be_smaller_than_the_last_kernel(side, logits):
    out, variables = shapes_of(Head(0), side, 64, None)
    assert out.shape == (2, logits)
    blocks = {128: 4, 48: 3, 32: 3, 4: 0}[side]
    assert sum("norm" in name for name in variables["params"]) == blocks


def test_a_class_is_compared_with_the_image(key):
    """By the sum over 64 channels of both, divided by the root of their number."""
    head, x = Head(3, 3, (5, 7)), draw(2, 4, 4, 8)
    labels = jnp.array([2, 0])
    variables = head.init(key, x, labels, True)
    params = variables["params"]
    table = np.asarray(params["embedding"])[np.asarray(labels)]
    kernel = np.asarray(params["project"]["kernel"])
    e = table @ kernel / np.sqrt(7)
    e = np.sqrt(2) * np.where(e > 0, e, 0.2 * e)
    last = {"params": params["last"], "stats": variables["stats"]["last"]}
    h = SpectralConv(64, False).apply(last, x, False)[:, 0, 0]
    expected = (np.asarray(h) * e).sum(1, keepdims=True) / 8
    np.testing.assert_allclose(
        head.apply(variables, x, labels, False), expected, atol=1e-5
    )
