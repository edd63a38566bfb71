"""The extractor, on random weights of the lowest tap."""

import itertools

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from progan_jax.errors import UserError
from progan_jax.metrics.inception import InceptionExtractor, resize_clean, resize_tf1
from progan_jax.metrics.inception_graph import parameter_shapes
from progan_jax.weights.weight_files import Weights


@pytest.fixture(scope="module")
def weights():
    random = np.random.default_rng(0)
    shapes = parameter_shapes("64")
    arrays = {n: 0.1 * random.normal(size=s) for n, s in shapes.items()}
    return Weights("w", {n: a.astype(np.float32) for n, a in arrays.items()})


def make_images(n=3, size=20, channels=3):
    random = np.random.default_rng(n)
    return random.integers(0, 256, (n, size, size, channels), np.uint8)


def convolve(x, weights, name, padding=0):
    """A convolution and its rectifier, [h, w, C] in and out, in float64."""
    kernel, bias = (weights.arrays[f"{name}/{part}"] for part in ("kernel", "bias"))
    x = np.pad(x, ((padding,) * 2, (padding,) * 2, (0, 0)))
    h, w = (side - 2 for side in x.shape[:2])
    offsets = itertools.product(range(3), repeat=2)
    y = sum(x[i : i + h, j : j + w] @ kernel[i, j].astype(float) for i, j in offsets)
    return np.maximum(y + bias, 0)


@pytest.mark.parametrize("resize", ["tf1", "clean"])
def test_features_equal_those_of_plain_numpy(weights, resize):
    images = make_images(1)
    resized = (resize_tf1 if resize == "tf1" else resize_clean)(images, 299)
    x = (np.asarray(resized[0], np.float64) - 128) / 128
    x = convolve(x, weights, "conv")[::2, ::2]
    x = convolve(x, weights, "conv_1")
    x = convolve(x, weights, "conv_2", padding=1)
    x = np.max(
        [x[i : 145 + i : 2, j : 145 + j : 2] for i in range(3) for j in range(3)], 0
    )
    features = InceptionExtractor(weights, resize=resize).at("64")(images)
    np.testing.assert_allclose(features[0], x.mean((0, 1)), rtol=1e-4, atol=1e-5)


def test_features_are_a_vector_of_each_image(weights):
    vectors = InceptionExtractor(weights, resize="clean").at("64")(make_images())
    assert vectors.shape == (3, 64)
    assert vectors.dtype == np.float32


def test_batches_and_devices_do_not_show_in_the_features(weights, monkeypatch):
    images = make_images(10)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    whole = InceptionExtractor(weights).at("64")(images)
    spread = InceptionExtractor(weights, sharding=sharding).at("64")(images)
    monkeypatch.setattr("progan_jax.metrics.inception._BATCH_SIZE", 4)
    split = InceptionExtractor(weights).at("64")(images)
    np.testing.assert_allclose(split, whole, rtol=1e-5)
    np.testing.assert_allclose(spread, whole, rtol=1e-5)


def test_grey_images_are_taken_as_rgb(weights):
    grey = make_images(2, channels=1)
    features = InceptionExtractor(weights).at("64")
    np.testing.assert_allclose(features(grey), features(grey.repeat(3, -1)), rtol=1e-6)


def test_a_tap_beyond_the_weights_is_refused_before_any_work(weights):
    with pytest.raises(UserError, match="tap 2048 is beyond the weights w"):
        InceptionExtractor(weights).at("2048")


@pytest.mark.parametrize(
    ("images", "rule"),
    [
        (make_images().astype(np.float32), "must be uint8"),
        (make_images()[0], "must be uint8"),
        (make_images(channels=2), "must be uint8"),
        (make_images()[:0], "there are no images"),
    ],
)
def test_other_images_are_refused(weights, images, rule):
    with pytest.raises(ValueError, match=rule):
        InceptionExtractor(weights).at("64")(images)
