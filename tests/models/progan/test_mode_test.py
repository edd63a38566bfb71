"""The mode test's networks against hand arithmetic and plain NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from scipy.signal import correlate2d

from progan_jax.models.common import init_params
from progan_jax.models.layers import downscale2d, upscale2d
from progan_jax.models.progan.options import Options
from progan_jax.models.progan.topologies import make_networks

# The paper's, and narrow ones: 8, 4 and 2 maps of G at 4x4, 8x8 and 16x16.
PAPER = {"fmap_base": 128, "fmap_max": 64}
NARROW = {"fmap_base": 16, "fmap_max": 8}
OUR_NORM = {}
BATCH_NORM = {
    "pixel_norm": False,
    "equalized": False,
    "g_norm": "batch",
    "d_norm": "batch",
}


def make(resolution, final=16, **changes):
    options = Options(
        topology="mode_test",
        resolution=final,
        latent_size=8,
        g_slope=0.3,
        tanh=True,
        d_divisor=2,
        **NARROW,
    )
    return make_networks(dataclasses.replace(options, **changes), resolution)


def kernels(params):
    flat = traverse_util.flatten_dict(params)
    return {"/".join(p[:-1]): v.shape for p, v in flat.items() if p[-1] == "kernel"}


def count(tree):
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


# Dense layer, three convolutions, four RGB layers; each with its biases.
G_DENSE = 64 * 16 * 64 + 64
G_CONVS = (9 * 64 * 32 + 32) + (9 * 32 * 16 + 16) + (9 * 16 * 8 + 8)
G_RGB = 9 * (64 + 32 + 16 + 8) * 3 + 4 * 3
G_GAINS = 64 + 32 + 16 + 8
# By the divisor: three convolutions and the dense layer; RGB layers at 16, 8 and 4.
D_LAYERS = {
    4: (9 * 3 * 2 + 2) + (9 * 2 * 4 + 4) + (9 * 4 * 8 + 8) + (16 * 8 + 1),
    2: (9 * 3 * 4 + 4) + (9 * 4 * 8 + 8) + (9 * 8 * 16 + 16) + (16 * 16 + 1),
}
D_RGB = {4: 4 * (2 + 4 + 8), 2: 4 * (4 + 8 + 16)}
D_GAINS = {4: 2 + 4 + 8, 2: 4 + 8 + 16}


@pytest.mark.parametrize("divisor", [4, 2])
def test_parameter_counts_are_those_of_hand_arithmetic(divisor, key):
    d_layers = D_LAYERS[divisor] + D_RGB[divisor]
    for norms, stddev, g_gains, d_gains in [
        (BATCH_NORM, False, G_GAINS, D_GAINS[divisor]),
        (OUR_NORM, False, 0, 0),
        # The dense layer sees 16 numbers more.
        (OUR_NORM, True, 0, 16),
    ]:
        sizes = {"latent_size": 64, "d_divisor": divisor, **PAPER}
        networks = make(32, 32, minibatch_stddev=stddev, **sizes, **norms)
        shapes = jax.eval_shape(lambda key, n=networks: init_params(key, *n), key)
        counts = G_DENSE + G_CONVS + G_RGB + g_gains, d_layers + d_gains
        assert tuple(map(count, shapes)) == counts


def test_images_enter_the_final_block_as_they_are_and_others_by_a_layer(key):
    def shapes(resolution, final):
        params = jax.eval_shape(lambda k: init_params(k, *make(resolution, final)), key)
        return kernels(params[1])

    below = {
        "block_4x4/dense": (16 * 3, 1),
        "block_8x8/conv": (3, 3, 1, 2),
        "from_rgb_4x4": (1, 1, 3, 2),
    }
    entry = {"from_rgb_8x8": (1, 1, 3, 1)}
    assert shapes(8, 16) == below | entry
    whole = below | entry | {"block_16x16/conv": (3, 3, 3, 1)}
    assert shapes(16, 16) == whole
    assert shapes(8, 8) == below | {"block_8x8/conv": (3, 3, 3, 2)}


def test_layers_of_a_larger_network_are_those_of_a_smaller_one_bit_for_bit():
    def create(resolution):
        run = jax.jit(lambda key: init_params(key, *make(resolution)))
        return run(jax.random.key(3))

    larger = create(16)
    for resolution in (4, 8):
        smaller = create(resolution)
        for small, large in zip(smaller, larger, strict=True):
            flat = traverse_util.flatten_dict(large)
            for path, value in traverse_util.flatten_dict(small).items():
                assert np.array_equal(value, flat[path]), path


def vary(params, seed):
    """Moves biases and gains away from zero and one, which would hide mistakes."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda p: p if p.ndim > 1 else p + rng.normal(0, 0.3, p.shape), params
    )


class Plain:
    """Layers in float64 NumPy, of nested parameters."""

    def __init__(self, params, options):
        flat = traverse_util.flatten_dict(params, sep="/")
        self.params = {name: np.asarray(p, np.float64) for name, p in flat.items()}
        self.batch_norm = options.get("g_norm") == "batch"

    def weights(self, name, gain):
        kernel = self.params[f"{name}/kernel"]
        fan_in = np.prod(kernel.shape[:-1])
        return kernel if self.batch_norm else kernel * gain / np.sqrt(fan_in)

    def shift(self, name, x):
        if f"{name}/norm/gain" in self.params:
            axes = (0, 1, 2)
            x = x - x.mean(axes)
            x = x / np.sqrt((x**2).mean(axes) + 1e-4) * self.params[f"{name}/norm/gain"]
        return x + self.params[f"{name}/bias"]

    def conv(self, name, x, gain=2**0.5):
        kernel = self.weights(name, gain)
        out = np.zeros((*x.shape[:3], kernel.shape[-1]))
        for n, h, f in np.ndindex(len(x), x.shape[-1], kernel.shape[-1]):
            out[n, :, :, f] += correlate2d(x[n, :, :, h], kernel[:, :, h, f], "same")
        return self.shift(name, out)


def leaky(x, slope):
    return np.where(x > 0, x, slope * x)


def unit_rms(x):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-8)


def double(x):
    return x.repeat(2, axis=1).repeat(2, axis=2)


def halve(x):
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


def plain_generator(params, z, alpha, options):
    layers = Plain(params, options)

    def activate(x):
        return leaky(x, 0.3) if layers.batch_norm else unit_rms(leaky(x, 0.3))

    # A 4x4 convolution over all of the image: 16 times the latents' fan-in.
    weights = layers.weights("block_4x4/dense", np.sqrt(2 / 16))
    x = (unit_rms(z) @ weights).reshape(len(z), 4, 4, 8)
    x = activate(layers.shift("block_4x4/dense", x))
    x = activate(layers.conv("block_8x8/conv", double(x)))
    old = double(layers.conv("to_rgb_8x8", x, 1))
    x = activate(layers.conv("block_16x16/conv", double(x)))
    new = layers.conv("to_rgb_16x16", x, 1)
    return np.tanh((1 - alpha) * old + alpha * new)


def plain_discriminator(params, images, alpha, options):
    layers = Plain(params, options)
    x = halve(leaky(layers.conv("block_16x16/conv", images), 0.2))
    old = leaky(layers.conv("from_rgb_8x8", halve(images)), 0.2)
    x = (1 - alpha) * old + alpha * x
    x = halve(leaky(layers.conv("block_8x8/conv", x), 0.2))
    stddev = np.full((*x.shape[:3], 1), np.sqrt(x.var(axis=0) + 1e-8).mean())
    x = np.concatenate([x, stddev], axis=-1).reshape(len(x), -1)
    out = x @ layers.weights("block_4x4/dense", 1)
    return out[:, 0] + layers.params["block_4x4/dense/bias"]


@pytest.mark.parametrize("norms", [OUR_NORM, BATCH_NORM], ids=["our_norm", "wgan_gp"])
def test_networks_are_those_of_plain_numpy_in_the_middle_of_a_fade(norms, key):
    g, d = make(16, **norms)
    g_params, d_params = (vary(p, 1) for p in init_params(key, g, d))
    z = np.random.default_rng(2).normal(size=(3, 8))
    images = jax.jit(g.apply)({"params": g_params}, z, alpha=0.3)
    expected = plain_generator(g_params, z, 0.3, norms)
    np.testing.assert_allclose(images, expected, atol=1e-5)
    reals = np.random.default_rng(3).uniform(-1, 1, (3, 16, 16, 3))
    scores = jax.jit(d.apply)({"params": d_params}, reals, alpha=0.3).scores
    expected = plain_discriminator(d_params, reals, 0.3, norms)
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_alpha_zero_is_the_stage_before(key):
    g, d = make(16)
    g_params, d_params = init_params(key, g, d)
    before_g, before_d = make(8)
    rng = np.random.default_rng(4)
    z = rng.normal(size=(2, 8)).astype(np.float32)
    small = before_g.apply({"params": g_params}, z, alpha=1.0)
    assert np.array_equal(g.apply({"params": g_params}, z, alpha=0.0), upscale2d(small))
    x = rng.uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)
    old = before_d.apply({"params": d_params}, downscale2d(x), alpha=1.0).scores
    assert np.array_equal(d.apply({"params": d_params}, x, alpha=0.0).scores, old)


def test_shapes_and_types_with_classes_in_bfloat16_and_with_recomputed_blocks(key):
    networks = make(16, num_classes=5, dtype="bfloat16", remat="blocks")

    def run(key):
        g_params, d_params = init_params(key, *networks)
        g, d = networks
        images = g.apply({"params": g_params}, jnp.ones((4, 8)), jnp.ones((4, 5)), 0.5)
        return images, d.apply({"params": d_params}, images, alpha=0.5)

    images, out = jax.eval_shape(run, key)
    assert images.shape == (4, 16, 16, 3)
    assert (out.scores.shape, out.logits.shape) == ((4,), (4, 5))
    assert images.dtype == out.scores.dtype == jnp.float32
