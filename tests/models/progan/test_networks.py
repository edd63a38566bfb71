import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from progan_jax.models.common import init_params, stage_resolutions
from progan_jax.models.layers import downscale2d, pixel_norm, upscale2d
from progan_jax.models.progan.ablation import Noise
from progan_jax.models.progan.networks import Discriminator, Generator
from progan_jax.models.progan.options import Options
from progan_jax.models.progan.topologies import make_networks

NARROW = {"fmap_base": 32, "fmap_max": 8}
LADDER = [4, 8, 16, 32, 64, 128, 256, 512, 1024]

# The authors' numbers at the default widths, every RGB layer counted.
PUBLISHED_PARAMETERS = {
    32: (20_719_628, 20_726_785),
    64: (22_490_383, 22_498_049),
    128: (22_933_394, 22_941_313),
    256: (23_044_309, 23_052_353),
    512: (23_072_120, 23_080_225),
    1024: (23_079_115, 23_087_249),
}


def make(resolution, **changes):
    defaults = {"latent_size": 8, "mbstd_group_size": 4, **NARROW}
    return make_networks(Options(**(defaults | changes)), resolution)


def make_generator(**changes):
    return make(4, **changes)[0]


def latents(n=4, size=8):
    return jax.random.normal(jax.random.key(7), (n, size))


def images(resolution, n=4, channels=3):
    key = jax.random.key(8)
    return jax.random.uniform(key, (n, resolution, resolution, channels)) * 2 - 1


def count(tree):
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("resolution", PUBLISHED_PARAMETERS)
def test_parameter_counts_are_the_published_ones(resolution, key):
    networks = Generator(resolution), Discriminator(resolution)
    shapes = jax.eval_shape(lambda key: init_params(key, *networks), key)
    assert tuple(map(count, shapes)) == PUBLISHED_PARAMETERS[resolution]


def test_parameter_counts_of_the_ablation_and_cifar10_recipes(key):
    ablation = {"resolution": 128, "fmap_base": 2048}
    cifar = {"resolution": 32, "fmap_base": 4096, "fmap_max": 128}
    for options, published in [
        (ablation, (13_629_810, 13_636_897)),
        (cifar | {"latent_size": 128}, (1_296_908, 1_298_689)),
    ]:
        networks = make_networks(Options(**options), options["resolution"])
        shapes = jax.eval_shape(lambda key, n=networks: init_params(key, *n), key)
        assert tuple(map(count, shapes)) == published


@pytest.mark.parametrize("resolution", LADDER)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("fused", [False, True])
def test_shapes_and_types_at_every_resolution(resolution, dtype, fused, key):
    g, d = make(resolution, dtype=dtype, fused_resampling=fused, fmap_base=1024)

    def run(key):
        g_params, d_params = init_params(key, g, d)
        fakes = g.apply({"params": g_params}, latents(), alpha=0.5)
        return g_params, fakes, d.apply({"params": d_params}, fakes, alpha=0.5)

    params, fakes, out = jax.eval_shape(run, key)
    assert fakes.shape == (4, resolution, resolution, 3)
    assert out.scores.shape == (4,)
    assert out.stddev.shape == (4,)
    assert out.logits.shape == (4, 0)
    # Parameters, images and scores are float32 whatever the activations are.
    for leaf in jax.tree.leaves((params, fakes, out)):
        assert leaf.dtype == jnp.float32


def test_stage_resolutions_double():
    assert stage_resolutions(1024) == LADDER
    assert stage_resolutions(32, 8) == [8, 16, 32]
    assert stage_resolutions(4) == [4]


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("resolution", [8, 16, 32])
def test_generator_at_alpha_zero_is_the_stage_before_upsampled(resolution, fused, key):
    g, d = make(resolution, fused_resampling=fused)
    before, _ = make(resolution // 2, fused_resampling=fused)
    params, _ = init_params(key, g, d)
    old = before.apply({"params": params}, latents(), alpha=1.0)
    assert np.array_equal(
        g.apply({"params": params}, latents(), alpha=0.0), upscale2d(old)
    )


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("resolution", [8, 16, 32])
def test_discriminator_at_alpha_zero_is_the_stage_before_of_means(
    resolution, fused, key
):
    g, d = make(resolution, fused_resampling=fused)
    _, before = make(resolution // 2, fused_resampling=fused)
    _, params = init_params(key, g, d)
    x = images(resolution)
    old = before.apply({"params": params}, downscale2d(x), alpha=1.0)
    assert np.array_equal(d.apply({"params": params}, x, alpha=0.0).scores, old.scores)


def drop_old_rgb(params, resolution):
    """Replaces the RGB layer of the stage before by numbers that would be noticed."""
    flat = traverse_util.flatten_dict(params)
    name = f"rgb_{resolution // 2}x"
    return traverse_util.unflatten_dict(
        {p: v * 0 + 1e6 if name in p[0] else v for p, v in flat.items()}
    )


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("resolution", [8, 16, 32])
def test_alpha_one_equals_networks_without_the_old_rgb_layer(resolution, fused, key):
    g, d = make(resolution, fused_resampling=fused)
    g_params, d_params = init_params(key, g, d)
    x = images(resolution)
    assert np.array_equal(
        g.apply({"params": g_params}, latents(), alpha=1.0),
        g.apply({"params": drop_old_rgb(g_params, resolution)}, latents(), alpha=1.0),
    )
    assert np.array_equal(
        d.apply({"params": d_params}, x, alpha=1.0).scores,
        d.apply({"params": drop_old_rgb(d_params, resolution)}, x, alpha=1.0).scores,
    )


def test_alpha_moves_images_along_a_line(key):
    g, d = make(16)
    params, _ = init_params(key, g, d)
    old, new, mid = (
        g.apply({"params": params}, latents(), alpha=alpha)
        for alpha in (0.0, 1.0, 0.25)
    )
    np.testing.assert_allclose(mid, 0.75 * old + 0.25 * new, atol=1e-6)


def test_layers_of_a_larger_network_are_those_of_a_smaller_one_bit_for_bit():
    larger = init_params(jax.random.key(3), *make(32))
    for resolution in (4, 8, 16):
        smaller = init_params(jax.random.key(3), *make(resolution))
        for small, large in zip(smaller, larger, strict=True):
            flat = traverse_util.flatten_dict(large)
            for path, value in traverse_util.flatten_dict(small).items():
                assert np.array_equal(value, flat[path]), path


def test_layers_do_not_share_their_random_numbers(key):
    kernels = [
        value
        for tree in init_params(key, *make(16))
        for path, value in traverse_util.flatten_dict(tree).items()
        if path[-1] == "kernel"
    ]
    firsts = {float(kernel.ravel()[0]) for kernel in kernels}
    assert len(firsts) == len(kernels)


def test_networks_pass_signals_of_unit_size(key):
    """The purpose of the gains: activations neither fade nor explode at birth."""
    g, d = make(32, fmap_base=1024, fmap_max=64, latent_size=64)
    g_params, d_params = init_params(key, g, d)
    fakes = g.apply({"params": g_params}, latents(64, 64), alpha=1.0)
    assert 0.4 < fakes.std() < 2.5
    scores = d.apply({"params": d_params}, images(32, 64), alpha=1.0).scores
    assert 0.05 < abs(scores).mean() < 5


def test_label_normalisation_orders_differ_as_stated(key):
    z, labels = latents(), jax.nn.one_hot(jnp.array([0, 1, 2, 1]), 3)
    joint = make_generator(num_classes=3, normalize_labels=True)
    apart = make_generator(num_classes=3)
    raw = make_generator(num_classes=3, normalize_latents=False)
    params = raw.init(key, z, labels, 1.0)
    # The raw generator's input can be normalised by hand, in either order.
    both = pixel_norm(jnp.concatenate([z, labels], axis=1))
    expected_joint = raw.apply(params, both[:, :8], both[:, 8:], 1.0)
    expected_apart = raw.apply(params, pixel_norm(z), labels, 1.0)
    np.testing.assert_allclose(
        joint.apply(params, z, labels, 1.0), expected_joint, atol=1e-6
    )
    np.testing.assert_allclose(
        apart.apply(params, z, labels, 1.0), expected_apart, atol=1e-6
    )
    assert abs(expected_joint - expected_apart).max() > 1e-3


def test_labels_change_the_image_and_are_classified(key):
    g, d = make(8, num_classes=3)
    g_params, d_params = init_params(key, g, d)
    z = jnp.broadcast_to(latents(1), (3, 8))
    fakes = g.apply({"params": g_params}, z, jnp.eye(3), 1.0)
    assert abs(fakes[0] - fakes[1]).max() > 1e-3
    assert d.apply({"params": d_params}, fakes, alpha=1.0).logits.shape == (3, 3)


def test_missing_and_unwanted_labels_are_refused(key):
    g, _ = make(4, num_classes=3)
    with pytest.raises(ValueError, match="no labels given to a generator of 3 classes"):
        g.init(key, latents(), alpha=1.0)
    g, _ = make(4)
    with pytest.raises(ValueError, match="labels given to a generator of 0 classes"):
        g.init(key, latents(), jnp.eye(4), 1.0)


def test_pixel_norm_makes_images_independent_of_the_latents_length(key):
    g, d = make(8)
    params, _ = init_params(key, g, d)
    images = [g.apply({"params": params}, latents() * c, alpha=1.0) for c in (1.0, 3.0)]
    np.testing.assert_allclose(*images, atol=1e-5)
    g, _ = make(8, normalize_latents=False, pixel_norm=False)
    images = [g.apply({"params": params}, latents() * c, alpha=1.0) for c in (1.0, 3.0)]
    assert abs(images[0] - images[1]).max() > 0.1


def test_tanh_bounds_the_images(key):
    g, d = make(8)
    params, _ = init_params(key, g, d)
    params = jax.tree.map(lambda p: p * 3, params)
    plain = g.apply({"params": params}, latents(), alpha=1.0)
    bounded = make(8, tanh=True)[0].apply({"params": params}, latents(), alpha=1.0)
    np.testing.assert_allclose(bounded, np.tanh(plain), atol=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_tanh_comes_after_the_fade(key, alpha):
    """Not before it, where only the ends of a fade would be the same."""
    g, d = make(16)
    params, _ = init_params(key, g, d)
    params = jax.tree.map(lambda p: p * 3, params)
    plain, bounded = (
        make(16, tanh=tanh)[0].apply({"params": params}, latents(), alpha=alpha)
        for tanh in (False, True)
    )
    np.testing.assert_allclose(bounded, np.tanh(plain), atol=1e-6)


def test_relu_generator_differs_below_zero_only(key):
    leaky = make_generator(pixel_norm=False)
    relu = make_generator(pixel_norm=False, activation="relu")
    params = leaky.init(key, latents(), alpha=1.0)
    assert not np.array_equal(
        leaky.apply(params, latents(), alpha=1.0),
        relu.apply(params, latents(), alpha=1.0),
    )
    # Where every number is positive nothing is rectified.
    params, z = jax.tree.map(abs, params), abs(latents())
    assert np.array_equal(
        leaky.apply(params, z, alpha=1.0), relu.apply(params, z, alpha=1.0)
    )


def test_slope_of_the_generator_is_its_field(key):
    steep = make_generator(pixel_norm=False, g_slope=0.0)
    relu = make_generator(pixel_norm=False, activation="relu")
    params = relu.init(key, latents(), alpha=1.0)
    expected = relu.apply(params, latents(), alpha=1.0)
    assert np.array_equal(steep.apply(params, latents(), alpha=1.0), expected)
    linear = make_generator(pixel_norm=False, g_slope=1.0)
    ends = [linear.apply(params, c * latents(), alpha=1.0) for c in (1, 0, -1)]
    np.testing.assert_allclose(ends[0] - ends[1], ends[1] - ends[2], atol=1e-5)


def normalized_layers(params):
    flat = traverse_util.flatten_dict(params)
    return {path[:-2] for path in flat if path[-2:] == ("norm", "gain")}


@pytest.mark.parametrize("resolution", [4, 16])
def test_all_layers_but_those_of_images_and_the_last_have_norms(key, resolution):
    g, d = make(resolution, g_norm="batch", d_norm="batch")
    for network, params in zip((g, d), init_params(key, g, d), strict=True):
        found = normalized_layers(params)
        layers = {path[:-1] for path in traverse_util.flatten_dict(params)}
        without = layers - found - {(*path, "norm") for path in found}
        assert all("rgb" in path[0] or path[-1] == "dense1" for path in without)
        blocks = len(stage_resolutions(resolution))
        # Two layers in each block, and D's last block has one more, without a norm.
        assert len(found) == 2 * blocks
        assert (("block_4x4", "dense1") in without) == (network is d)


def test_norms_make_the_scale_of_weights_without_effect(key):
    g, d = make(16, g_norm="batch", d_norm="batch", pixel_norm=False)
    params, d_params = init_params(key, g, d)
    d = make(16, d_norm="layer")[1]
    d_params = d.init(key, images(16), alpha=1.0)["params"]
    inputs = ((g, params, latents()), (d, d_params, images(16)))
    for network, params, x in inputs:
        found = normalized_layers(params)

        def scale(path, value, found=found):
            larger = path[:-1] in found and path[-1] == "kernel"
            return 100.0 * value if larger else value

        flat = traverse_util.flatten_dict(params)
        scaled = {path: scale(path, value) for path, value in flat.items()}
        outputs = [
            jax.tree.leaves(network.apply({"params": p}, x, alpha=0.5))[0]
            for p in (params, traverse_util.unflatten_dict(scaled))
        ]
        # But for the 1e-4 beside the variance.
        np.testing.assert_allclose(*outputs, rtol=0.05, atol=0.02)


def test_discrimination_sees_the_batch_before_the_last_layer(key):
    d = make(8, minibatch_stddev=False, minibatch_discrimination=6)[1]
    x = images(8)
    params = d.init(key, x, alpha=1.0)["params"]
    head = params["block_4x4"]
    assert head["dense1"]["kernel"].shape == (8 + 6, 1)
    scores, alone = (
        d.apply({"params": params}, i, alpha=1.0).scores for i in (x, x[:1])
    )
    near = d.apply({"params": params}, x[:1].repeat(4, axis=0), alpha=1.0).scores
    # Alone there is nothing near, and of equal images each of the others counts 1.
    weights = head["dense1"]["kernel"][8:, 0] / np.sqrt(14)
    np.testing.assert_allclose(near - alone, 3 * weights.sum(), rtol=1e-3, atol=1e-5)
    assert abs(scores[0] - alone[0]) > 1e-6


@pytest.mark.parametrize("fused", [False, True])
def test_noise_meets_each_convolution_of_the_discriminator_and_its_dense_layer(
    key, fused, monkeypatch
):
    met = []

    def record(layer, x, noise):
        data = np.asarray(jax.random.key_data(layer.make_rng("noise")))
        met.append((x.shape[1], x.shape[-1], data.tobytes()))
        return x

    _, d = make(16, fused_resampling=fused)
    variables = d.init(key, images(16), alpha=1.0)
    monkeypatch.setattr("progan_jax.models.progan.networks.multiply_noise", record)
    noise, rngs = Noise(jnp.float32(0.1), jnp.arange(4)), {"noise": jax.random.key(1)}
    d.apply(variables, images(16), None, 0.5, noise, rngs=rngs)
    # 4 maps at 16x16, 8 below, and one more after the minibatch statistic.
    sites = [(16, 4), (16, 4), (8, 8), (8, 8), (4, 9), (4, 8)]
    assert [site[:2] for site in met] == sites
    assert len({site[2] for site in met}) == len(sites)


def test_noise_changes_scores_by_its_strength_and_leaves_gradients_finite(key):
    _, d = make(16)
    params = d.init(key, images(16), alpha=1.0)["params"]

    @jax.jit
    def scores_and_gradient(params, strength):
        noise, rngs = Noise(strength, jnp.arange(4)), {"noise": jax.random.key(1)}

        def run(params):
            inputs = images(16), None, 0.5, noise
            scores = d.apply({"params": params}, *inputs, rngs=rngs).scores
            return scores.sum(), scores

        gradient, scores = jax.grad(run, has_aux=True)(params)
        return scores, gradient

    plain = d.apply({"params": params}, images(16), alpha=0.5).scores
    np.testing.assert_allclose(
        scores_and_gradient(params, 0.0)[0], plain, rtol=1e-4, atol=1e-6
    )
    little, much = (scores_and_gradient(params, s)[0] - plain for s in (1e-3, 1e-2))
    # To first order in the strength, with the same draws.
    np.testing.assert_allclose(much, 10 * little, rtol=0.2, atol=1e-3)
    assert abs(much).min() > 1e-4
    gradient = scores_and_gradient(params, 0.5)[1]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_groups_of_the_statistic_are_independent(key):
    g, d = make(8, mbstd_group_size=4)
    _, params = init_params(key, g, d)
    x = images(8, n=8)
    whole = d.apply({"params": params}, x, alpha=1.0).scores
    first = d.apply({"params": params}, x[:4], alpha=1.0).scores
    np.testing.assert_allclose(whole[:4], first, rtol=1e-5)
    other = d.apply({"params": params}, x.at[7].set(0.0), alpha=1.0).scores
    assert np.array_equal(whole[:4], other[:4])
    assert abs(whole[4:7] - other[4:7]).min() > 0


def test_discriminator_without_the_statistic_sees_images_one_by_one(key):
    _, d = make(8, minibatch_stddev=False)
    params = d.init(key, images(8), alpha=1.0)
    out = d.apply(params, images(8, n=3), alpha=1.0)
    alone = d.apply(params, images(8, n=3)[:1], alpha=1.0)
    np.testing.assert_allclose(out.scores[:1], alone.scores, rtol=1e-5)
    assert not out.stddev.any()


@pytest.mark.parametrize("group", [0, 2])
def test_two_sets_in_one_batch_are_scored_as_each_alone(key, group, float64):
    _, d = make(8, mbstd_group_size=group, num_classes=2, dtype="float64")
    sets = np.random.default_rng(0).normal(size=(2, 4, 8, 8, 3))
    params = d.init(key, sets[0])
    both = np.stack(sets, axis=1).reshape(8, 8, 8, 3)
    together = d.apply(params, both, alpha=0.3, sets=2)
    for which, images in enumerate(sets):
        alone = d.apply(params, images, alpha=0.3)
        for found, expected in zip(together, alone, strict=True):
            np.testing.assert_allclose(found[which::2], expected, rtol=1e-12)
