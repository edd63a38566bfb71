"""Vision transformers.

stylegan_xl/test_discriminator_golden.py has values of DeiT in the authors' program.
"""

import jax
import numpy as np
import pytest

from progan_jax.models.stylegan_xl.backbones import BACKBONES
from progan_jax.models.transformer import VisionTransformer, from_timm, timm_shapes

NETWORKS = [name for name, b in BACKBONES.items() if b.is_transformer]


def count(shapes):
    return sum(int(np.prod(shape)) for shape in shapes.values())


@pytest.mark.parametrize("classifier", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_converted_weights_are_those_of_the_network(name, classifier):
    network = BACKBONES[name].network
    method = "__call__" if classifier else "features"
    image = jax.ShapeDtypeStruct((1, network.side, network.side, 3), np.float32)
    made = jax.eval_shape(
        lambda x: network.init(jax.random.key(0), x, method=method)["params"], image
    )
    shapes = timm_shapes(network, classifier)
    converted = from_timm(
        {k: np.zeros(s, "f4") for k, s in shapes.items()}, network, classifier
    )
    assert jax.tree.map(np.shape, converted) == jax.tree.map(lambda x: x.shape, made)


def test_sizes_are_the_published():
    # DeiT's table 1 has 6, 22 and 87 millions; a norm and two heads come on top.
    sizes = {"deit_tiny": 5_910_800, "deit_small": 22_436_432, "deit_base": 87_338_192}
    for name, size in sizes.items():
        assert count(timm_shapes(BACKBONES[name].network, classifier=True)) == size
    # DINOv2 ViT-S/14 has 22,056,192 with its last norm, of 2 x 384.
    dino = BACKBONES["dinov2_small"].network
    assert count(timm_shapes(dino, classifier=True)) == 22_056_192


SMALL = VisionTransformer(64, patch=2, side=8, distilled=False, stored_tokens=7)

# Its stored positions are resized as DINOv2's own program does it.
LONGER = SMALL.clone(overshoot=0.1)


def small_arrays(**changed):
    random = np.random.default_rng(0)
    shapes = timm_shapes(SMALL).items()
    return {k: random.standard_normal(s).astype("f4") for k, s in shapes} | changed


@pytest.mark.parametrize("network", [SMALL, LONGER])
def test_positions_are_resized_bicubically(network):
    """Against the formula at one place: half-pixel, a = -0.75, borders repeated."""
    arrays = small_arrays()
    ours = from_timm(arrays, network)["positions"]
    assert ours.shape == (17, 64)
    stored = np.float64(arrays["pos_embed"][0])
    np.testing.assert_array_equal(ours[0], np.float32(stored[0]))
    grid = stored[1:].reshape(7, 7, 64)
    a = -0.75

    def kernel(d):
        d = abs(d)
        if d <= 1:
            return (a + 2) * d**3 - (a + 3) * d**2 + 1
        return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0

    for row, column in ((0, 0), (1, 2), (3, 3)):
        side = 4 + network.overshoot
        y, x = ((at + 0.5) * 7 / side - 0.5 for at in (row, column))
        expected = 0
        for i in range(-3, 11):
            for j in range(-3, 11):
                weight = kernel(y - i) * kernel(x - j)
                expected += weight * grid[np.clip(i, 0, 6), np.clip(j, 0, 6)]
        np.testing.assert_allclose(
            ours[1 + row * 4 + column], expected, rtol=1e-4, atol=1e-5
        )


def test_constant_positions_stay():
    arrays = small_arrays(pos_embed=np.full((1, 50, 64), 2.5, "f4"))
    np.testing.assert_allclose(from_timm(arrays, SMALL)["positions"], 2.5, rtol=1e-6)


def test_layer_scale_of_zero_leaves_the_tokens(key):
    """With all branches off, each block returns what it is given."""
    network = VisionTransformer(64, patch=2, side=4, distilled=False, layer_scale=True)
    x = jax.random.normal(key, (1, 4, 4, 3))
    variables = network.init(jax.random.key(1), x, method="features")
    off = jax.tree_util.tree_map_with_path(
        lambda path, x: x * ("scale" not in str(path[-2:])), variables
    )
    first, *_, last = network.apply(off, x, method="features")
    np.testing.assert_array_equal(first, last)
    first, *_, last = network.apply(variables, x, method="features")
    assert not np.allclose(first, last)


def test_levels_are_taken_after_each_quarter_of_the_blocks(key):
    """Of a deeper network too: all but the last two quarters' branches are off."""
    network = VisionTransformer(64, 2, 4, False, layer_scale=True, depth=8)
    x = jax.random.normal(key, (1, 4, 4, 3))
    variables = network.init(jax.random.key(1), x, method="features")

    def off(path, x):
        is_factor = path[-1].key in ("scale1", "scale2")
        return x.at[:4].set(0) if is_factor else x

    changed = jax.tree_util.tree_map_with_path(off, variables)
    first, second, third, last = network.apply(changed, x, method="features")
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(second, third) and not np.allclose(third, last)


def test_without_a_classifier_the_first_token_is_normalised(key):
    network = VisionTransformer(64, 2, 4, distilled=False, depth=4)
    x = jax.random.normal(key, (3, 4, 4, 3))
    token = network.apply(network.init(jax.random.key(1), x), x)
    assert token.shape == (3, 64)
    np.testing.assert_allclose(token.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(token.std(axis=1), 1, rtol=1e-3)
