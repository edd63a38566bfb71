"""Where Inception weights are found, what is refused, and how they are converted."""

import hashlib

import numpy as np
import pytest

from progan_jax.errors import UserError
from progan_jax.metrics import inception_weights
from progan_jax.metrics.inception_graph import convolution_names, parameter_shapes
from progan_jax.metrics.inception_weights import (
    CONVERTED,
    PUBLISHED,
    from_torch,
    highest_tap,
    load_inception,
    random_inception,
    require_tap,
)
from progan_jax.weights.weight_files import Weights, read_weights, write_weights
from tests.metrics.torch_inception import NAMES, random_state

BATCH_NORM = ("weight", "bias", "running_mean", "running_var")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and no way to the network."""
    monkeypatch.setenv("PROGAN_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(inception_weights, "URL", (tmp_path / "gone").as_uri())
    return tmp_path / "cache"


def make_prefix(tap="64", name="inception-2015-12-05-prefix"):
    random = np.random.default_rng(0)
    shapes = parameter_shapes(tap)
    return Weights(
        name, {n: random.normal(size=s).astype(np.float16) for n, s in shapes.items()}
    )


def test_a_file_is_read_as_it_was_written(tmp_path):
    weights = make_prefix()
    write_weights(tmp_path / "a.safetensors", weights)
    read = load_inception(tmp_path / "a.safetensors")
    assert (read.name, read.fingerprint) == (weights.name, weights.fingerprint)
    for name, array in weights.arrays.items():
        np.testing.assert_array_equal(read.arrays[name], array)


def test_the_fingerprint_depends_on_numbers_names_and_types():
    base = Weights("a", {"x": np.zeros(4, np.float32)})
    others = [
        Weights("a", {"x": np.array([0, 0, 0, 1e-30], np.float32)}),
        Weights("a", {"y": np.zeros(4, np.float32)}),
        Weights("a", {"x": np.zeros(4, np.int32)}),
        Weights("a", {"x": np.zeros((2, 2), np.float32)}),
    ]
    assert len({w.fingerprint for w in (base, *others)}) == 5
    assert base.fingerprint == Weights("b", dict(base.arrays)).fingerprint


def test_a_prefix_in_npz_serves_the_taps_it_reaches(tmp_path):
    np.savez(tmp_path / "a.npz", **make_prefix("192").arrays)
    weights = load_inception(tmp_path / "a.npz")
    assert weights.name == "inception-2015-12-05-prefix"
    assert highest_tap(weights) == "192"
    require_tap(weights, "64")
    with pytest.raises(UserError, match=r"tap 2048 is beyond .* end at 192"):
        require_tap(weights, "2048")


def test_published_weights_are_downloaded_once_and_folded(
    cache, tmp_path, write_pth, monkeypatch
):
    state = random_state()
    published = write_pth(tmp_path / "server.pth", state)
    digest = hashlib.sha256(published.read_bytes()).hexdigest()
    monkeypatch.setattr(inception_weights, "URL", published.as_uri())
    monkeypatch.setattr(inception_weights, "SHA256", digest)

    weights = load_inception()
    published.unlink()
    assert [path.name for path in cache.iterdir()] == [PUBLISHED]
    assert load_inception().fingerprint == weights.fingerprint
    assert weights.name == "inception-2015-12-05"
    assert highest_tap(weights) == "logits"

    assert len(weights.arrays) == 2 * len(NAMES) + 1
    for ours, theirs in zip(convolution_names(), NAMES, strict=True):
        kernel, gain, shift, mean, variance = (
            state[f"{theirs}.{part}"].astype(np.float64)
            for part in ("conv.weight", *(f"bn.{part}" for part in BATCH_NORM))
        )
        # One pixel through the middle of the kernel, then batch norm.
        pixel = np.linspace(-1, 1, kernel.shape[1])
        y, x = (side // 2 for side in kernel.shape[2:])
        by_hand = (kernel[:, :, y, x] @ pixel - mean) / np.sqrt(variance + 0.001)
        folded = pixel @ weights.arrays[f"{ours}/kernel"][y, x]
        folded += weights.arrays[f"{ours}/bias"]
        np.testing.assert_allclose(folded, by_hand * gain + shift, atol=1e-5)


def test_offline_the_message_says_which_file_to_put_where(cache):
    with pytest.raises(UserError) as caught:
        load_inception()
    message = str(caught.value)
    assert "\n" not in message
    assert str(cache) in message
    assert PUBLISHED in message


def test_a_damaged_download_is_not_kept(cache, tmp_path, monkeypatch):
    (tmp_path / "server.pth").write_bytes(b"<html>not found</html>")
    monkeypatch.setattr(inception_weights, "URL", (tmp_path / "server.pth").as_uri())
    with pytest.raises(UserError, match="is damaged or changed"):
        load_inception()
    assert not list(cache.iterdir())


def test_a_cache_that_cannot_be_written_is_one_line(cache, tmp_path, monkeypatch):
    cache.write_text("a file where the folder should be")
    (tmp_path / "server.pth").write_bytes(b"x")
    monkeypatch.setattr(inception_weights, "URL", (tmp_path / "server.pth").as_uri())
    monkeypatch.setattr(inception_weights, "SHA256", hashlib.sha256(b"x").hexdigest())
    with pytest.raises(UserError, match="name another folder in PROGAN_JAX_CACHE"):
        load_inception()


def test_converted_weights_in_the_cache_are_found(cache):
    weights = make_prefix()
    write_weights(cache / CONVERTED, weights)
    assert load_inception().fingerprint == weights.fingerprint


def flip_last_byte(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_a_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "a.safetensors"
    write_weights(path, make_prefix())
    flip_last_byte(path)
    with pytest.raises(UserError, match="is damaged, or not a file of our converters"):
        load_inception(path)


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("a.pth", b"\x80\x02", r"SHA-256 .* must have 6726825d"),
        ("a.npz", b"PK\x03\x04 cut", "is a zip archive that is cut"),
        ("a.safetensors", b"\1" * 9, "cannot be read as safetensors"),
        ("missing.pth", None, "there is no such file"),
    ],
)
def test_a_file_that_holds_no_weights_is_one_line(tmp_path, name, content, rule):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rule) as caught:
        load_inception(tmp_path / name)
    assert name in str(caught.value)


def spoil(arrays, fault):
    """Returns the arrays with one fault."""
    kernel = arrays["conv_1/kernel"]
    return {
        "lacks conv_1/bias": {k: v for k, v in arrays.items() if k != "conv_1/bias"},
        "must not have conv_9/bias": arrays | {"conv_9/bias": kernel},
        "must be (3, 3, 32, 32)": arrays | {"conv_1/kernel": kernel[:, :, 1:]},
        "is not finite": arrays | {"conv_1/kernel": kernel * np.float16("nan")},
    }[fault]


@pytest.mark.parametrize(
    "fault",
    [
        "lacks conv_1/bias",
        "must not have conv_9/bias",
        "must be (3, 3, 32, 32)",
        "is not finite",
    ],
)
def test_weights_of_another_network_are_refused(tmp_path, fault):
    np.savez(tmp_path / "a.npz", **spoil(dict(make_prefix().arrays), fault))
    with pytest.raises(UserError) as caught:
        load_inception(tmp_path / "a.npz")
    assert fault in str(caught.value)


@pytest.mark.parametrize("missing", ["fc.weight", "Conv2d_1a_3x3.conv.weight"])
def test_a_state_of_another_network_is_refused(missing):
    state = random_state()
    del state[missing]
    with pytest.raises(UserError, match=r"a.pth: these are weights of another network"):
        from_torch(state, "a.pth")


def test_random_weights_follow_from_their_seed():
    first, again, other = (random_inception(seed) for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert (first.name, other.name) == ("inception-random-0", "inception-random-1")
    kernel = first.arrays["mixed_9/tower_1/conv_1/kernel"]
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (9 * 448)), rtol=0.01)
    assert not first.arrays["mixed_9/tower_1/conv_1/bias"].any()


def test_no_flipped_bit_of_converted_weights_is_read_in_silence(tmp_path):
    path = tmp_path / "a.safetensors"
    arrays = {"conv/bias": np.float32([1, 2])}
    write_weights(path, Weights("inception", arrays))
    data = path.read_bytes()
    for position in range(len(data)):
        changed = bytes([data[position] ^ 1 << position % 8])
        path.write_bytes(data[:position] + changed + data[position + 1 :])
        try:
            found = read_weights(path)
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert found.name == "inception"
            np.testing.assert_array_equal(found.arrays["conv/bias"], [1, 2])
