"""LPIPS against plain NumPy, and the files of its weights."""

import functools
import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from progan_jax.errors import MissingWeightsError, UserError
from progan_jax.metrics import lpips as module
from progan_jax.metrics.lpips import convert_lpips, load_lpips, lpips
from progan_jax.weights.weight_files import Weights, write_weights
from tests.metrics.lpips_state import CONVOLUTIONS, random_heads, random_vgg16


@functools.cache
def make_weights():
    arrays = {}
    for name, place in CONVOLUTIONS.items():
        kernel = random_vgg16()[f"features.{place}.weight"]
        arrays[f"{name}/kernel"] = kernel.transpose(2, 3, 1, 0)
        arrays[f"{name}/bias"] = random_vgg16()[f"features.{place}.bias"]
    for index in range(5):
        head = random_heads()[f"lin{index}.model.1.weight"]
        arrays[f"head{index + 1}/kernel"] = head.reshape(-1)
    return Weights("lpips-vgg16-v0.1", arrays)


def make_images(n, side=16, channels=3, seed=0):
    random = np.random.default_rng(seed)
    return random.uniform(0, 255, (n, side, side, channels)).astype(np.float32)


def distance_by_numpy(a, b):
    """One pair [h, w, 3] in float64."""
    total = 0
    for index, (x, y) in enumerate(zip(maps(a), maps(b), strict=True)):
        x, y = (m / np.sqrt((m**2).sum(-1, keepdims=True)) for m in (x, y))
        head = random_heads()[f"lin{index}.model.1.weight"].reshape(-1)
        total += (((x - y) ** 2) @ head).mean()
    return total


def maps(image):
    """The rectified conv1_2, conv2_2, conv3_3, conv4_3, conv5_3 of one image."""
    x = (image / 127.5 - 1 - [-0.03, -0.088, -0.188]) / [0.458, 0.448, 0.45]
    for name, place in CONVOLUTIONS.items():
        if name.endswith("_1") and name != "conv1_1":
            yield x
            h, w, c = x.shape
            x = x.reshape(h // 2, 2, w // 2, 2, c).max((1, 3))
        kernel = random_vgg16()[f"features.{place}.weight"].astype(np.float64)
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        h, w, _ = x.shape
        y = sum(
            padded[i : i + h, j : j + w] @ kernel[:, :, i, j].T
            for i in range(3)
            for j in range(3)
        )
        x = np.maximum(y + random_vgg16()[f"features.{place}.bias"], 0)
    yield x


# The weights are an argument: XLA would take seconds over so large constants.
run = jax.jit(lambda distance, a, b: distance(a, b))


def test_distances_are_those_of_plain_numpy():
    a, b = make_images(2), make_images(2, seed=1)
    b[1] = a[1] + 0.1 * (b[1] - a[1])
    ours = run(lpips(make_weights()), a, b)
    expected = [distance_by_numpy(x, y) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(ours, expected, rtol=1e-4)


def test_equal_images_have_distance_zero_and_grey_is_rgb():
    grey = make_images(2, channels=1)
    other = make_images(2, channels=1, seed=1)
    distance = lpips(make_weights())
    np.testing.assert_array_equal(run(distance, grey, grey), [0, 0])
    repeated = run(distance, grey.repeat(3, axis=3), other.repeat(3, axis=3))
    np.testing.assert_array_equal(run(distance, grey, other), repeated)


def test_gradients_are_finite_where_features_vanish():
    arrays = {n: -np.abs(a) for n, a in make_weights().arrays.items()}
    silent = lpips(Weights("w", arrays))
    image = jnp.full((1, 16, 16, 3), 255.0)
    differentiate = jax.grad(lambda x, y, distance: distance(x, y).sum())
    gradient = jax.jit(differentiate)(image, 0.5 * image, silent)
    assert np.isfinite(gradient).all()


@pytest.fixture
def files(tmp_path, write_pth, monkeypatch):
    """The published files with random numbers, and their checksums."""
    vgg16 = write_pth(tmp_path / "vgg16-397923af.pth", random_vgg16())
    heads = write_pth(tmp_path / "vgg.pth", random_heads())
    made = {"vgg16": vgg16, "heads": heads}
    digests = {n: hashlib.sha256(p.read_bytes()).hexdigest() for n, p in made.items()}
    monkeypatch.setattr(module, "SHA256", digests)
    return vgg16, heads


def test_published_files_become_one_file_of_ours(files, tmp_path, monkeypatch):
    weights = convert_lpips(*files)
    assert weights.fingerprint == make_weights().fingerprint
    monkeypatch.setenv("PROGAN_JAX_CACHE", str(tmp_path))
    write_weights(tmp_path / "lpips-vgg16-v0.1.safetensors", weights)
    assert load_lpips().fingerprint == weights.fingerprint


def test_files_that_are_not_the_published_ones_are_refused(files, monkeypatch):
    vgg16, heads = files
    monkeypatch.setattr(module, "SHA256", module.SHA256 | {"heads": "a78928a0"})
    with pytest.raises(
        UserError, match=r"vgg\.pth has the SHA-256 .* must have a78928"
    ):
        convert_lpips(vgg16, heads)
    with pytest.raises(UserError, match=r"vgg\.pth has the SHA-256"):
        convert_lpips(heads, heads)
    with pytest.raises(UserError, match="there is no such file"):
        convert_lpips(heads.with_name("none.pth"), heads)


def test_missing_weights_say_where_they_come_from_and_where_to_put_them(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("PROGAN_JAX_CACHE", str(tmp_path))
    place = tmp_path / "lpips-vgg16-v0.1.safetensors"
    with pytest.raises(MissingWeightsError) as error:
        load_lpips()
    assert str(error.value) == (
        f"there are no LPIPS weights in {place}; get torchvision's vgg16-397923af.pth "
        "(download.pytorch.org/models) and lpips/weights/v0.1/vgg.pth of the PyPI "
        "package lpips, and run: python -m progan_jax.tools.convert_lpips VGG16 HEADS"
    )


@pytest.mark.parametrize("name", ["mine", "mine.safetensors"])
def test_a_named_file_that_is_missing_is_made_where_it_is_looked_for(tmp_path, name):
    with pytest.raises(UserError) as error:
        load_lpips(tmp_path / name)
    assert type(error.value) is UserError  # It is asked for: not left out in silence.
    message = str(error.value)
    assert message.startswith(f"there are no LPIPS weights in {tmp_path / name}; get")
    assert message.endswith(f"VGG16 HEADS --out={tmp_path}/mine.safetensors")


def test_weights_of_another_network_are_refused(tmp_path):
    some = {n: a for n, a in make_weights().arrays.items() if "head5" not in n}
    write_weights(tmp_path / "a.safetensors", Weights("w", some))
    with pytest.raises(UserError, match="lacks head5/kernel"):
        load_lpips(tmp_path / "a.safetensors")
