"""What StyleGAN's networks do at their start, with noise, labels and w."""

import functools
import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from progan_jax.models.common import init_variables, weight_shapes
from progan_jax.models.stylegan.networks import Discriminator, make_networks
from progan_jax.models.stylegan.options import Options
from tests.untrained import untrained

TINY = Options(
    resolution=16,
    channels=1,
    latent_size=8,
    w_size=6,
    mapping_width=7,
    mapping_layers=2,
    fmap_base=32,
    fmap_max=8,
)


@functools.cache
def make(resolution=8, strength=0.0, **fields):
    """Returns both networks and their variables, with one strength of all noise."""
    g, d = make_networks(replace(TINY, **fields), resolution)
    variables = untrained(init_variables, g, d)

    def strengthen(path, x):
        return x + strength if path[-1].key == "noise_strength" else x

    of_g = jax.tree_util.tree_map_with_path(strengthen, variables.g)
    return g, d, of_g, variables.d


def latents(n, seed=1, size=8):
    return jax.random.normal(jax.random.key(seed), (n, size))


@functools.cache
def compiled(network, **settings):
    def apply(variables, inputs, rngs, arrays):
        return network.apply(variables, *inputs, rngs=rngs, **settings, **arrays)

    return jax.jit(apply)


def run(network, variables, *inputs, rngs=None, arrays=None, **settings):
    """Applies a network; settings are static."""
    apply = compiled(network, **settings)
    return apply(variables, inputs, rngs, arrays or {})


def noisy(g, variables, z, numbers, seed=5):
    rngs = {"noise": jax.random.key(seed)}
    return run(g, variables, z, None, 1.0, jnp.array(numbers), rngs=rngs)


def test_parameters_start_as_the_authors_do():
    wide = replace(TINY, latent_size=512, mapping_width=512, num_classes=400)
    networks = make_networks(wide, 8)
    born = jax.jit(lambda: init_variables(jax.random.key(0), *networks))()
    params, stats, of_d = born.g["params"], born.g["stats"], born.d
    kernel = params["mapping"]["dense0"]["kernel"]
    assert kernel.shape == (1024, 512)
    assert np.std(kernel) == pytest.approx(100, rel=0.02)
    assert np.std(params["mapping"]["label"]) == pytest.approx(1, rel=0.02)
    assert np.all(params["synthesis"]["block_4x4"]["constant"]["constant"] == 1)
    for path, leaf in jax.tree_util.tree_leaves_with_path((params, of_d["params"])):
        if path[-1].key in ("bias", "noise_strength"):
            assert not np.any(leaf), path
        elif (
            path[-1].key == "kernel" and leaf.size > 500 and "mapping" not in str(path)
        ):
            assert np.std(leaf) == pytest.approx(1, rel=0.1), path
    assert not np.any(stats["w_average"])
    noise = stats["synthesis"]["block_8x8"]
    assert np.std(noise["conv0"]["noise"]) == pytest.approx(1, rel=0.3)
    assert np.any(noise["conv0"]["noise"] != noise["conv1"]["noise"])


def test_noise_has_no_effect_at_the_start():
    g, _, variables, _ = make()
    z = latents(4)
    images = noisy(g, variables, z, range(4))
    np.testing.assert_allclose(images, run(g, variables, z), atol=1e-5)


def test_noise_of_an_image_depends_on_its_number_and_not_on_its_batch():
    g, _, variables, _ = make(strength=0.3)
    z = latents(4)
    images = noisy(g, variables, z, [0, 1, 2, 7])
    alone = noisy(g, variables, z[2:3], [2])
    np.testing.assert_allclose(alone[0], images[2], atol=1e-5)
    same = noisy(g, variables, jnp.repeat(z[:1], 4, axis=0), [0, 0, 1, 1])
    np.testing.assert_allclose(same[0], same[1], atol=1e-5)
    assert np.abs(same[0] - same[2]).max() > 0.01
    other = noisy(g, variables, z, [0, 1, 2, 7], seed=6)
    assert np.abs(other - images).max() > 0.01


def test_without_numbers_there_is_no_noise_and_fixed_noise_is_shared():
    g, _, variables, _ = make(strength=0.3)
    z = jnp.repeat(latents(1), 4, axis=0)
    plain = run(g, variables, z)
    none = noisy(g.clone(noise_mode="none"), variables, z, range(4))
    np.testing.assert_allclose(plain, none, atol=1e-5)
    fixed = run(g.clone(noise_mode="fixed"), variables, z)
    np.testing.assert_allclose(fixed[0], fixed[1], atol=1e-5)
    assert np.abs(fixed - plain).max() > 0.01


def test_every_layer_has_a_noise_of_its_own():
    g, _, variables, _ = make(resolution=4, strength=0.3)
    _, state = run(
        g,
        variables,
        latents(1),
        None,
        1.0,
        jnp.arange(1),
        rngs={"noise": jax.random.key(5)},
        mutable=("intermediates",),
    )
    block = state["intermediates"]["synthesis"]["block_4x4"]
    first = block["constant"]["noise"][0] - 1
    second = block["conv"]["noise"][0] - block["conv"]["conv"][0]
    # One map for all channels, times their strengths, all equal here.
    for noise in (first, second):
        np.testing.assert_allclose(noise, noise[..., :1].repeat(8, -1), atol=1e-5)
    assert np.abs(first - second).max() > 0.1


def test_another_noise_mode_is_refused():
    g, _, variables, _ = make()
    with pytest.raises(ValueError, match="noise_mode = 'loud' must be one of random"):
        run(g.clone(noise_mode="loud"), variables, latents(1))


def test_mapping_then_synthesis_is_the_generator():
    g, _, variables, _ = make(strength=0.3, num_classes=3)
    z, labels = latents(2), jax.nn.one_hot(jnp.array([0, 2]), 3)
    w = run(g, variables, z, labels, method="mapping")
    assert w.shape == (2, 6)
    rngs = {"noise": jax.random.key(5)}
    inputs = 0.4, jnp.arange(2)
    images = run(g, variables, z, labels, *inputs, rngs=rngs)
    whole = run(g, variables, w, *inputs, rngs=rngs, method="synthesis")
    np.testing.assert_allclose(whole, images, atol=1e-5)
    each = jnp.repeat(w[:, None], g.num_layers, axis=1)
    layered = run(g, variables, each, *inputs, rngs=rngs, method="synthesis")
    np.testing.assert_allclose(layered, images, atol=1e-5)


@pytest.mark.parametrize("resolution", [4, 8, 16])
def test_a_generator_has_two_layers_for_each_resolution(resolution):
    g, _ = make_networks(TINY, resolution)
    assert g.num_layers == 2 * int(np.log2(resolution)) - 2
    styles = [path for path in weight_shapes(g) if path[-2:] == ("style", "kernel")]
    assert len(styles) == g.num_layers
    assert len(g.layers()) == 2 * g.num_layers - 1  # The constant has no kernel.


def with_average(variables, average):
    return variables | {"stats": variables["stats"] | {"w_average": average}}


def test_psi_moves_w_of_the_first_layers_only():
    g, _, variables, _ = make()
    average = np.arange(6, dtype=np.float32)
    variables = with_average(variables, average)
    w = np.asarray(latents(2, size=6))
    for psi in (-1.0, 0.0, 0.5):
        truncating = g.clone(truncation_psi=psi, truncation_cutoff=3)
        out = run(truncating, variables, w, method="truncate")
        expected = np.repeat(w[:, None], 4, axis=1)
        expected[:, :3] = (average + psi * (w - average))[:, None]
        np.testing.assert_allclose(out, expected, atol=1e-5)
    np.testing.assert_array_equal(
        run(g, variables, w, method="truncate"), np.repeat(w[:, None], 4, axis=1)
    )


def test_training_is_never_truncated():
    g, _, variables, _ = make()
    z = latents(4)
    variables = with_average(variables, np.arange(6, dtype=np.float32))
    truncating = g.clone(truncation_psi=0.1)
    images, _ = run(truncating, variables, z, train=True, mutable=("stats",))
    np.testing.assert_allclose(images, run(g, variables, z), atol=1e-5)
    assert np.abs(run(truncating, variables, z) - images).max() > 0.01


def test_mixing_at_either_end_is_no_mixing():
    g, _, variables, _ = make()
    z, other = latents(4), latents(4, seed=2)
    for first, expected in ((0, other), (g.num_layers, z)):
        mixed = run(g, variables, z, arrays={"mixed_z": other, "mixed_from": first})
        np.testing.assert_allclose(mixed, run(g, variables, expected), atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 5), (2, 3, 6), (2, 4, 5), (6,)])
def test_w_of_another_shape_is_refused(shape):
    g, _, variables, _ = make()
    with pytest.raises(ValueError, match=r"is neither \[N, 6\] nor \[N, 4, 6\]"):
        run(g, variables, jnp.zeros(shape), method="synthesis")


def test_missing_and_needless_labels_are_refused():
    images, z, label = jnp.zeros((1, 8, 8, 1)), latents(1), jnp.zeros(1, jnp.int32)
    g, d, of_g, of_d = make(num_classes=3)
    with pytest.raises(ValueError, match="no labels given to a generator of 3 classes"):
        run(g, of_g, z)
    with pytest.raises(ValueError, match="no labels given to a discriminator of 3"):
        run(d, of_d, images)
    g, d, of_g, of_d = make()
    with pytest.raises(ValueError, match=r"^labels given to a generator of 0"):
        run(g, of_g, z, jnp.ones((1, 3)))
    with pytest.raises(ValueError, match=r"^labels given to a discriminator of 0"):
        run(d, of_d, images, label)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_alpha_fades_from_the_stage_before_in_both_networks(alpha):
    g, d, of_g, of_d = make(resolution=8)
    z = latents(4)
    images = run(g, of_g, z, arrays={"alpha": alpha})
    scores = run(d, of_d, images, arrays={"alpha": alpha}).scores
    if alpha:
        return np.testing.assert_allclose(images, run(g, of_g, z), atol=1e-5)
    before, old_d, _, _ = make(resolution=4)
    small = run(before, of_g, z)
    np.testing.assert_allclose(images, small.repeat(2, 1).repeat(2, 2), atol=1e-5)
    means = images.reshape(4, 4, 2, 4, 2, 1).mean((2, 4))
    np.testing.assert_allclose(scores, run(old_d, of_d, means).scores, atol=1e-5)


def test_sets_of_images_have_groups_of_their_own():
    _, d, _, of_d = make()
    sets = [jax.random.normal(jax.random.key(k), (8, 8, 8, 1)) for k in (1, 2)]
    together = jnp.stack(sets, axis=1).reshape(16, 8, 8, 1)
    scores = run(d, of_d, together, sets=2).scores.reshape(8, 2)
    for index, images in enumerate(sets):
        expected = run(d, of_d, images).scores
        np.testing.assert_allclose(scores[:, index], expected, atol=1e-5)


def test_each_map_of_the_statistic_is_that_of_its_share_of_the_maps():
    _, d, _, of_d = make(resolution=4, mbstd_features=2)
    images = jax.random.normal(jax.random.key(1), (8, 4, 4, 1))
    out, seen = run(d, of_d, images, capture_intermediates=True)
    maps = np.asarray(seen["intermediates"]["from_rgb_4x4"]["__call__"][0])
    maps = np.where(maps < 0, 0.2 * maps, maps)
    groups = maps.reshape(2, 4, 4, 4, 2, 4)  # Groups, images, H, W, shares, maps.
    stddev = np.sqrt(groups.var(axis=1) + 1e-8).mean((1, 2, 4)).repeat(4, axis=0)
    np.testing.assert_allclose(out.stddev, stddev.mean(1), atol=1e-5)
    # The convolution sees the maps, then both values.
    params = of_d["params"]["block_4x4"]["conv"]
    both = np.broadcast_to(stddev[:, None, None], (8, 4, 4, 2))
    x = jnp.concatenate([maps, both], axis=-1)
    kernel = params["kernel"] * math.sqrt(2 / (9 * 10))
    expected = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    ours = seen["intermediates"]["block_4x4"]["conv"]["__call__"][0]
    np.testing.assert_allclose(ours, expected, atol=1e-5)  # The bias is 0.


def test_a_discriminator_without_the_statistic_has_no_map_of_it():
    _, d, _, of_d = make(minibatch_stddev=False)
    assert of_d["params"]["block_4x4"]["conv"]["kernel"].shape[2] == 8
    out = run(d, of_d, jax.random.normal(jax.random.key(1), (4, 8, 8, 1)))
    assert not np.any(out.stddev)


def test_a_small_batch_on_a_device_caps_groups_and_changes_no_shapes():
    _, d = make_networks(TINY, 8, per_device_batch=1)
    _, _, _, of_d = make()
    images = jax.random.normal(jax.random.key(1), (4, 8, 8, 1))
    out = run(d, of_d, images)
    np.testing.assert_allclose(out.stddev, 1e-4, rtol=1e-5)  # sqrt(epsilon)


def test_a_fixed_structure_has_one_rgb_layer_and_no_fade():
    g, d, of_g, of_d = make(structure="fixed")
    for params in (of_g["params"]["synthesis"], of_d["params"]):
        assert [name[-3:] for name in params if "rgb" in name] == ["8x8"]
    z = latents(2)
    images = run(g, of_g, z, arrays={"alpha": 1.0})
    np.testing.assert_array_equal(run(g, of_g, z, arrays={"alpha": 0.2}), images)
    one, other = (run(d, of_d, images, arrays={"alpha": a}).scores for a in (1.0, 0.2))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("networks", ["g", "d"])
def test_remat_changes_nothing(networks):
    g, _, of_g, of_d = make(strength=0.3)
    z, images = latents(2), jax.random.normal(jax.random.key(1), (4, 8, 8, 1))

    def loss(variables, remat):
        options = replace(TINY, remat=remat)
        if networks == "d":
            again = Discriminator(8, options)
            return run(again, variables, images).scores.sum()
        return noisy(g.clone(options=options), variables, z, [0, 1]).var()

    variables = of_g if networks == "g" else of_d
    plain, again = (jax.grad(loss)(variables, r) for r in ("none", "blocks"))
    for one, other in zip(*map(jax.tree.leaves, (plain, again)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_bfloat16_is_for_the_activations_alone():
    g, d, of_g, of_d = make(dtype="bfloat16", strength=0.3)
    for leaf in jax.tree.leaves((of_g, of_d)):
        assert leaf.dtype == jnp.float32
    z = latents(4)
    assert run(g, of_g, z, method="mapping").dtype == jnp.float32
    images, stats = run(g, of_g, z, train=True, mutable=("stats", "intermediates"))
    assert images.dtype == stats["stats"]["w_average"].dtype == jnp.float32
    layer = stats["intermediates"]["synthesis"]["block_8x8"]["conv0"]
    assert layer["conv"][0].dtype == jnp.bfloat16
    assert layer["norm"][0].dtype == jnp.float32
    exact, _, _, _ = make(strength=0.3)
    np.testing.assert_allclose(images, run(exact, of_g, z), atol=0.1)
    scores = run(d, of_d, images).scores
    assert scores.dtype == jnp.float32
    assert (scores != scores.astype(jnp.bfloat16)).any()  # Not rounded before.


def test_mapping_and_styles_are_at_the_highest_precision():
    g, _, variables, _ = make()

    def mapping(z):
        return g.apply(variables, z, method="mapping")

    def synthesis(w):
        return g.apply(variables, w, method="synthesis")

    gradient = jax.grad(lambda z: mapping(z).sum())
    for traced in map(jax.make_jaxpr, (mapping, gradient)):
        text = str(traced(latents(2)))
        assert text.count("dot_general") == text.count("precision=(Precision.HIGHEST")
    text = str(jax.make_jaxpr(synthesis)(latents(2, size=6)))
    assert text.count("precision=(Precision.HIGHEST") == g.num_layers
