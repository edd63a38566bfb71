"""VGG-19's features, against loops over narrow layers, and its weights."""

import functools
import hashlib

import numpy as np
import pytest
from safetensors.numpy import save_file

from progan_jax.errors import UserError
from progan_jax.metrics.vgg import load_vgg, vgg_features

# The layers of configuration E up to conv5_2, by torchvision's numbers: those with 3x3
# kernels, their inputs and outputs. Pooling comes before 5, 10, 19 and 28.
LAYERS = {
    0: (3, 64),
    2: (64, 64),
    5: (64, 128),
    7: (128, 128),
    10: (128, 256),
    12: (256, 256),
    14: (256, 256),
    16: (256, 256),
    19: (256, 512),
    21: (512, 512),
    23: (512, 512),
    25: (512, 512),
    28: (512, 512),
    30: (512, 512),
}
POOLED = (5, 10, 19, 28)
TAPPED = (2, 7, 12, 21, 30)


@functools.cache
def make_state():
    """Random weights by torchvision's names, with layers that are not used."""
    random = np.random.default_rng(0)
    state = {"classifier.0.bias": np.zeros(3, np.float32)}
    for index, (inputs, outputs) in LAYERS.items():
        kernel = random.standard_normal((outputs, inputs, 3, 3), np.float32)
        state |= {
            f"features.{index}.weight": kernel * np.sqrt(2 / (9 * inputs)),
            f"features.{index}.bias": random.standard_normal(outputs, np.float32) / 10,
        }
    return {name: array.astype(np.float32) for name, array in state.items()}


def make_images(n=1, side=16, channels=3):
    random = np.random.default_rng(side)
    return random.integers(0, 256, (n, side, side, channels), np.uint8)


def run_with_numpy(image, state):
    """Returns the five maps of one image [h, w, 3], float64, one offset at a time."""
    x = (image / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    maps = []
    for index in LAYERS:
        if index in POOLED:
            h, w, c = x.shape
            x = x.reshape(h // 2, 2, w // 2, 2, c).max((1, 3))
        kernel = state[f"features.{index}.weight"].astype(np.float64)
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        h, w = x.shape[:2]
        y = np.zeros((h, w, len(kernel)))
        for i in range(3):
            for j in range(3):
                y += padded[i : i + h, j : j + w] @ kernel[:, :, i, j].T
        x = np.maximum(y + state[f"features.{index}.bias"], 0)
        maps += [x] if index in TAPPED else []
    return maps


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("vgg") / "a.safetensors"
    save_file(make_state(), path)
    return load_vgg(path)


@pytest.mark.parametrize("side", [16, 32])
def test_features_are_means_over_equal_cells_of_the_maps_of_plain_numpy(weights, side):
    images = make_images(2, side)
    vectors = vgg_features(weights)(images)
    expected, averaged = [], []
    for image in images:
        maps = []
        for x in run_with_numpy(image, make_state()):
            # Maps of 16x16 and more become 8x8, smaller ones stay as they are.
            cells = min(len(x), 8)
            size = len(x) // cells
            maps.append(x.reshape(cells, size, cells, size, -1).mean((1, 3)))
        expected.append(np.concatenate([x.ravel() / x.size**0.5 for x in maps]))
        averaged.append(maps)
    np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)
    # So that the squared distance is the sum of the layers' mean squared differences.
    means = [np.mean((x - y) ** 2) for x, y in zip(*averaged, strict=True)]
    distance = np.sum((vectors[0] - vectors[1]) ** 2)
    np.testing.assert_allclose(distance, sum(means), rtol=1e-4)


def test_all_forms_of_a_file_give_the_same_weights(tmp_path, write_pth):
    save_file(make_state(), tmp_path / "theirs.safetensors")
    theirs = load_vgg(tmp_path / "theirs.safetensors")
    assert len(theirs.arrays) == 2 * len(LAYERS)
    arrays = {n: np.ascontiguousarray(a) for n, a in theirs.arrays.items()}
    save_file(arrays, tmp_path / "ours.safetensors")
    write_pth(tmp_path / "theirs.pth", make_state())
    for name in ("ours.safetensors", "theirs.pth"):
        assert load_vgg(tmp_path / name).fingerprint == theirs.fingerprint


def test_missing_weights_are_one_line(tmp_path):
    for file in (None, tmp_path / "a.safetensors"):
        with pytest.raises(UserError, match=r"name torchvision's vgg19-dcbb9e9d\.pth"):
            load_vgg(file)


def test_weights_of_another_network_are_refused(tmp_path):
    state = dict(make_state())
    del state["features.30.bias"]
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"lacks conv5_2/bias"):
        load_vgg(tmp_path / "a.safetensors")
    save_file({"x": np.zeros(3)}, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"lacks conv1_1/bias and 27 more"):
        load_vgg(tmp_path / "a.safetensors")


def test_a_file_that_is_not_the_one_of_its_name_is_refused(tmp_path, write_pth):
    path = write_pth(tmp_path / "vgg.pth", {"a": np.ones(2, np.float32)})
    digits = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    path = path.rename(tmp_path / f"vgg19-{digits}.pth")
    with pytest.raises(UserError, match="lacks"):
        load_vgg(path)
    path = path.rename(tmp_path / "vgg19-dcbb9e9d.pth")
    with pytest.raises(UserError, match=f"SHA-256 {digits}.* must have dcbb9e9d"):
        load_vgg(path)
