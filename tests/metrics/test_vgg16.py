"""VGG-16's dense features, of narrow layers, and its files."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from progan_jax.data.pyramid import build_pyramid
from progan_jax.errors import MissingWeightsError, UserError
from progan_jax.metrics import vgg16
from progan_jax.metrics.extractor import Extractor
from progan_jax.metrics.image_sources import Reals
from progan_jax.metrics.measure import MeasureOptions, Measurer
from progan_jax.metrics.precision_recall import precision_recall
from progan_jax.metrics.vgg import VGG, VGG16, from_torch
from progan_jax.metrics.vgg16 import KIND
from progan_jax.weights.weight_files import Weights
from tests.metrics.lpips_state import random_vgg16

SIDE, WIDTH = 64, 24  # Maps of 2x2 at last, and dense layers of 24.


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setattr(vgg16, "SIDE", SIDE)
    monkeypatch.setattr(vgg16, "_CELLS", SIDE // 32)
    monkeypatch.setattr(vgg16, "_WIDTH", WIDTH)


def make_state():
    """Random weights by torchvision's names."""
    random = np.random.default_rng(1)
    state = dict(random_vgg16())
    for place, inputs in ((0, 4 * 512), (3, WIDTH)):
        kernel = random.standard_normal((WIDTH, inputs)) * np.sqrt(2 / inputs)
        state[f"classifier.{place}.weight"] = kernel.astype("f4")
        state[f"classifier.{place}.bias"] = random.standard_normal(WIDTH).astype("f4")
    return state


@pytest.fixture
def file(tmp_path):
    save_file(make_state(), tmp_path / "vgg16.safetensors")
    return str(tmp_path / "vgg16.safetensors")


def dense_by_torchs_layout(maps, state):
    """Applies both layers to the last maps [n, 4, 4, 512], as torchvision's do."""
    n, side, _, channels = maps.shape
    pooled = maps.reshape(n, side // 2, 2, side // 2, 2, channels).max(axis=(2, 4))
    x = pooled.transpose(0, 3, 1, 2).reshape(n, -1).astype(np.float64)
    for place in (0, 3):
        weight, bias = (state[f"classifier.{place}.{p}"] for p in ("weight", "bias"))
        x = np.maximum(x @ weight.T + bias, 0)
    return x


def make_images(n=3, side=SIDE):
    random = np.random.default_rng(side)
    return random.integers(0, 256, (n, side, side, 3), np.uint8)


def test_features_are_the_rectified_second_dense_layer_in_half_precision(file):
    images, state = make_images(), make_state()
    weights = Weights("vgg16", from_torch(state, VGG16))
    maps = np.asarray(VGG(VGG16).apply(weights.variables(), images)[-1])
    expected = dense_by_torchs_layout(maps, state)
    features = Extractor(KIND, file).extract(images, ("fc2",))["fc2"]
    assert features.dtype == np.float16 and (expected == 0).any()
    np.testing.assert_allclose(features, expected, rtol=2e-3, atol=2e-3)


def test_images_are_resized_as_tensorflow_1_does(file):
    """Twice as large: each second pixel is one of the image's."""
    extract = Extractor(KIND, file).extract
    images = make_images(2, SIDE // 2)
    double = np.zeros((2, SIDE, SIDE, 3))
    padded = np.pad(images.astype(float), ((0, 0), (0, 1), (0, 1), (0, 0)), "edge")
    for y in range(SIDE):
        for x in range(SIDE):
            rows, columns = ({i // 2, (i + 1) // 2} for i in (y, x))
            corners = [padded[:, i, j] for i in rows for j in columns]
            double[:, y, x] = np.mean(corners, axis=0)
    even = np.round(double).astype(np.uint8)
    near, far = (extract(x, ("fc2",))["fc2"] for x in (even, even[:, ::-1]))
    found = extract(images, ("fc2",))["fc2"].astype(np.float32)
    # Rounding moves features a little, another image a lot.
    gap = np.abs(found - near).max()
    assert gap < 0.05 * np.abs(found - far).max()


def test_precision_and_recall_have_names_of_their_own(file):
    pixels = np.concatenate([make_images(20, 16), make_images(20, 16) // 2])
    reals = Reals(build_pyramid("noise", pixels, None, 0), 16, seed=3, mirror=False)
    options = MeasureOptions(("pr_vgg16",), num_images=16, vgg16_weights=file)
    measurer = Measurer(reals, options)
    other = Reals(reals.pyramid, 16, seed=3, mirror=False, skip=16)
    values = measurer.measure("pr_vgg16", other, 16)
    assert values.keys() == {"precision_vgg16", "recall_vgg16"}
    features = [
        measurer._features.extract("pr_vgg16", source, 16) for source in (reals, other)
    ]
    assert tuple(values.values()) == precision_recall(*features)
    settings = measurer.settings("pr_vgg16")
    assert (settings["features"], settings["resize"]) == ("vgg16/fc2", "tf1")
    assert settings["k"] == 3 and settings["num_reals"] == 16


def test_without_weights_one_line_says_which():
    with pytest.raises(MissingWeightsError, match=r"vgg16-397923af\.pth"):
        Extractor(KIND, "")


def test_a_file_without_dense_layers_is_refused(tmp_path):
    save_file(dict(random_vgg16()), tmp_path / "trunk.safetensors")
    with pytest.raises(UserError, match="lacks fc1/bias and 3 more") as caught:
        Extractor(KIND, str(tmp_path / "trunk.safetensors"))
    assert "\n" not in str(caught.value)
