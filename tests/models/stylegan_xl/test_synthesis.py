"""The synthesis network, layer by layer, against the authors' numbers."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from progan_jax.models.stylegan_xl.design import design_network
from progan_jax.models.stylegan_xl.generator import Generator
from progan_jax.models.stylegan_xl.synthesis import FourierInput, normalise_style
from tests.stylegan_xl_golden import (
    G_OPTIONS,
    assert_close,
    below,
    channels_first,
    compiled,
    g_variables,
    generator,
    golden,
    meta,
)

all_cases = pytest.mark.parametrize("case", G_OPTIONS)


# Of Flax: outputs of all modules go to "intermediates".
KEEP = {"mutable": "intermediates", "capture_intermediates": True}


def outputs(kept):
    """Returns the layers' outputs [N, C, H, W] by name."""
    kept = kept["intermediates"]["synthesis"]
    return {
        name: channels_first(layer["__call__"][0])
        for name, layer in kept.items()
        if name != "__call__"
    }


@functools.cache
def synthesised(case, magnitudes="stored", transform=None):
    """Returns images of all w, and each layer's output [N, C, H, W], by name.

    `magnitudes` are the stored ones, or those after an updating pass: "updated".
    """
    state = g_variables(case)
    if magnitudes == "updated":
        state = updated(state, case)
    apply = compiled(generator(case), method="synthesis", **KEEP)
    matrix = None if transform is None else golden()[transform]
    images, kept = apply(state, golden()[f"{case}/ws"], 1.0, None, matrix)
    return channels_first(images), outputs(kept)


def updated(state, case):
    """Replaces the layers' magnitudes by those after an updating pass."""
    names = golden()[f"{case}/layer_names"]
    stats = dict(state["stats"]["synthesis"])
    for name, magnitude in zip(names, golden()["stem/ema/magnitude_ema"], strict=True):
        stats[name] = {"magnitude_ema": magnitude}
    return state | {"stats": state["stats"] | {"synthesis": stats}}


@all_cases
def test_images_are_the_same(case):
    images, _ = synthesised(case)
    assert_close(images, golden()[f"{case}/image"])


@pytest.mark.parametrize("case", ["stem", "uncond", "superres"])
def test_each_layer_gives_the_same_maps(case):
    _, kept = synthesised(case)
    theirs, step = below(f"{case}/out"), 2 if case == "uncond" else 1
    names = set(kept) - (set(synthesised("stem")[1]) if case == "superres" else set())
    assert set(theirs) == names
    for name, maps in theirs.items():
        assert_close(kept[name][:1, :, ::step, ::step], maps)


def test_a_transform_moves_the_features_and_the_image():
    images, kept = synthesised("stem", transform="stem/transform/matrix")
    assert_close(kept["input"][:1], golden()["stem/transform/input"])
    # Of the first two in the batch of all.
    assert_close(images[:2], golden()["stem/transform/image"])


@pytest.mark.parametrize("scale", [0.5, 3.0, 20.0])
def test_frequencies_beyond_the_band_fade(scale):
    """They do when an image shrinks: linearly from the cutoff to what a rate holds."""
    options = G_OPTIONS["uncond"]
    signal = design_network(options).input
    rng = np.random.default_rng(0)
    frequencies = rng.uniform(-1.4, 1.4, (signal.channels, 2))
    phases = rng.uniform(-0.5, 0.5, signal.channels)
    state = {
        "params": {
            # The mixing has no effect, and w has none.
            "kernel": np.sqrt(signal.channels) * np.eye(signal.channels),
            "affine": {"kernel": np.zeros((2, 4)), "bias": np.array([2.0, 0, 0, 0])},
        },
        "stats": {"frequencies": frequencies, "phases": phases},
    }
    matrix = np.diag([scale, scale, 1])
    state, matrix = jax.tree.map(np.float32, (state, matrix))
    ours = FourierInput(signal, options).apply(state, np.ones((1, 2)), matrix)
    at = scale * (np.arange(-17.5, 18) / 16)
    expected = np.zeros((1, 36, 36, signal.channels))
    for i, (x, y) in enumerate(frequencies):
        wave = np.sin(2 * np.pi * (x * at[None] + y * at[:, None] + phases[i]))
        length = scale * np.hypot(x, y)
        expected[0, :, :, i] = np.interp(length, [2, 8], [1, 0]) * wave
    np.testing.assert_allclose(ours, expected, atol=2e-5)
    faint = np.abs(expected).max(axis=(0, 1, 2)) < 0.9
    assert faint.any() == (scale > 1) and faint.all() == (scale == 20)


def test_a_stem_of_4x4_whose_band_is_all_that_its_rate_holds_has_gradients(key):
    options = replace(G_OPTIONS["uncond"], resolution=4)
    signal = design_network(options).input
    assert signal.cutoff == signal.rate / 2
    layer, w = FourierInput(signal, options), jnp.ones((2, options.w_size))
    state = layer.init(key, w)

    def energy(params, scale):
        matrix = scale * jnp.diag(jnp.ones(3))
        return jnp.sum(layer.apply(state | {"params": params}, w, matrix) ** 2)

    for scale in (1.0, 5.0):  # Inside the band, and beyond it.
        gradients = jax.grad(energy)(state["params"], scale)
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradients))
    assert energy(state["params"], 1.0) > energy(state["params"], 5.0)


def test_magnitudes_scale_the_layers():
    images, kept = synthesised("stem", magnitudes="updated")
    assert_close(images[:1], golden()["stem/ema/image"])
    # The authors' update, which training does not use: mean squares of the inputs.
    beta, names = meta()["magnitude_ema_beta"], golden()["stem/layer_names"].tolist()
    before = below("stem/G")
    for i, name in enumerate(names):
        square = np.mean(np.square(kept[["input", *names][i]], dtype=np.float64))
        old = before[f"synthesis.{name}.magnitude_ema"]
        new = beta * old + (1 - beta) * square
        assert new == pytest.approx(golden()["stem/ema/magnitude_ema"][i], rel=1e-5)


def test_a_superresolution_continues_the_kept_layers():
    """They give what they gave in the stem: styles are those of the batch."""
    ws = golden()["stem/ws"][:2]
    apply = compiled(generator("stem"), method="synthesis", **KEEP)
    _, kept = apply(g_variables("stem"), ws)
    stem = outputs(kept)
    _, ours = synthesised("superres")
    for layer in design_network(G_OPTIONS["superres"]).layers[:8]:
        assert_close(ours[layer.name], stem[layer.name], 1e-6)


def test_an_image_does_not_depend_on_its_batch():
    g, state, w = generator("uncond"), g_variables("uncond"), golden()["uncond/ws"]
    apply = compiled(g, method="synthesis")
    together = np.asarray(apply(state, w))
    apart = np.concatenate([apply(state, one[None]) for one in w])
    assert_close(together, apart, 1e-6)
    others = apply(state, np.concatenate([w[:1], 10 * w[1:]]))
    assert_close(others[:1], together[:1], 1e-6)
    assert not g.sees_batch


def test_each_style_has_unit_mean_square():
    style = np.random.default_rng(0).standard_normal((6, 5), np.float32) * 3
    squares = np.square(normalise_style(style)).mean(axis=1)
    np.testing.assert_allclose(squares, 1, rtol=1e-6)


def test_bfloat16_activations_give_nearly_the_same_images():
    options = replace(G_OPTIONS["stem"], dtype="bfloat16")
    apply = compiled(Generator(16, options), method="synthesis")
    images = apply(g_variables("stem"), golden()["stem/ws"])
    assert images.dtype == jnp.float32
    assert_close(channels_first(images), golden()["stem/image"], 0.05)


def test_recomputed_layers_have_the_same_gradients():
    state, w = g_variables("uncond"), golden()["uncond/ws"][:2]

    def gradients(remat):
        g = Generator(16, replace(G_OPTIONS["uncond"], remat=remat))

        def total(w):
            return jnp.sum(jnp.square(g.apply(state, w, method="synthesis")))

        return jax.jit(jax.grad(total))(w)

    plain = np.asarray(gradients("none"))
    assert_close(gradients("layers"), plain, 1e-5)


def test_new_frequencies_fill_the_disc_of_the_band():
    options = replace(G_OPTIONS["uncond"], fmap_base=65536, fmap_max=1024, w_size=4)
    g = Generator(16, options)
    stats = jax.eval_shape(g.init, jax.random.key(0), np.ones((1, 16)))["stats"]
    assert stats["synthesis"]["input"]["frequencies"].shape == (1024, 2)
    small = replace(G_OPTIONS["uncond"], fmap_base=2048, fmap_max=512, layers=3)
    drawn = jax.jit(Generator(16, small).init)(jax.random.key(0), np.ones((1, 16)))
    drawn = drawn["stats"]["synthesis"]["input"]
    radii = np.hypot(*drawn["frequencies"].T)
    assert len(radii) == 512 and radii.max() <= 2.0
    # The share within a radius grows about as the area.
    assert np.mean(radii < 1.0) == pytest.approx(0.25, abs=0.1)
    assert np.abs(drawn["phases"]).max() <= 0.5
    assert not np.array_equal(drawn["phases"], drawn["frequencies"][:, 0])
