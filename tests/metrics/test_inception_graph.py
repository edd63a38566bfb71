"""The Inception graph: its pools against loops, its size, and real features."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from progan_jax.metrics.inception import InceptionExtractor
from progan_jax.metrics.inception_graph import (
    POOLS,
    TAPS,
    InceptionV3,
    parameter_shapes,
)
from progan_jax.metrics.inception_weights import load_inception

# The golden features need weights that are too large for this repository: a folder with
# data/inception_2015_prefix.npz and golden/inception_prefix.npz.
FOLDER = Path(
    os.environ.get("PROGAN_JAX_TEST_DATA") or Path(__file__).parents[3] / "shared"
)
WEIGHTS = FOLDER / "data" / "inception_2015_prefix.npz"
GOLDEN = FOLDER / "golden" / "inception_prefix.npz"


def pool_by_loop(x, function, stride, inside):
    """Applies `function` to the pixels of each 3x3 window that lie in the image."""
    n, h, w, c = x.shape
    first, end = (1, -1) if inside else (0, None)
    rows, columns = range(h)[first:end:stride], range(w)[first:end:stride]
    result = np.empty((n, len(rows), len(columns), c))
    for i, y in enumerate(rows):
        for j, z in enumerate(columns):
            window = x[:, max(y - 1, 0) : y + 2, max(z - 1, 0) : z + 2]
            result[:, i, j] = function(window, axis=(1, 2))
    return result


@pytest.mark.parametrize(
    ("pool", "function", "stride", "inside"),
    [
        ("average", np.mean, 1, False),
        ("max", np.max, 1, False),
        ("reduce", np.max, 2, True),
    ],
)
@pytest.mark.parametrize("size", [7, 8])
def test_pools_take_no_padding_in(pool, function, stride, inside, size):
    # All below zero: any padding by zeros would show in the largest, too.
    x = np.random.default_rng(0).uniform(-2, -1, (2, size, size, 3)).astype(np.float32)
    expected = pool_by_loop(x, function, stride, inside)
    np.testing.assert_allclose(POOLS[pool](jnp.asarray(x)), expected, rtol=1e-6)


def test_the_graph_has_the_published_number_of_parameters():
    sizes = {n: np.prod(s, dtype=int) for n, s in parameter_shapes("logits").items()}
    # 94 convolutions and their biases, and the logits' kernel.
    assert len(sizes) == 2 * 94 + 1
    # torchvision's Inception v3 has 27161264, of which 3326696 are the auxiliary
    # classifier's. It has two parameters of batch norm where the bias is here, 1000
    # classes for 1008, and a bias of the logits.
    biases = sum(size for name, size in sizes.items() if name.endswith("bias"))
    theirs = 27_161_264 - 3_326_696 - biases - 1000 + 8 * 2048
    assert sum(sizes.values()) == theirs


@pytest.mark.parametrize("tap", ["64", "768", "logits"])
def test_a_tap_needs_the_parameters_below_it_and_gives_its_length(tap):
    image = jax.ShapeDtypeStruct((2, 299, 299, 3), jnp.uint8)
    network = InceptionV3((tap,))

    def initialise(image):
        return network.init_with_output(jax.random.key(0), image)

    vectors, variables = jax.eval_shape(initialise, image)
    assert {name: array.shape for name, array in vectors.items()} == {
        tap: (2, TAPS[tap][1])
    }
    made = {
        f"{layer}/{part}": array.shape
        for layer, parts in variables["params"].items()
        for part, array in parts.items()
    }
    assert made == parameter_shapes(tap)


needs_weights = pytest.mark.skipif(
    not (WEIGHTS.exists() and GOLDEN.exists()),
    reason=f"real weights and features are not in {FOLDER}: set PROGAN_JAX_TEST_DATA",
)


@needs_weights
def test_real_weights_give_the_features_that_another_program_computed():
    golden = np.load(GOLDEN)
    taps = ("64", "192", "768", "1280")
    extractor = InceptionExtractor(load_inception(WEIGHTS))
    features = extractor.extract(golden["images"], taps)
    for tap in taps:
        np.testing.assert_allclose(
            features[tap], golden[f"feat_{tap}"], rtol=0, atol=1e-4
        )
