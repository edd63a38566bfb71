import hashlib
import json

import jax
import numpy as np
import pytest

from progan_jax.errors import UserError
from progan_jax.files import seal
from progan_jax.metrics.classifier import (
    ARCHITECTURES,
    make_classifier,
    make_network,
    read_classifier,
    write_classifier,
)


def make_info(resolution=8, channels=1, num_classes=10, **changes):
    return {
        "architecture": "residual",
        "width": 4,
        "num_classes": num_classes,
        "resolution": resolution,
        "channels": channels,
        "data_set": {"name": "digits", "split": "train", "fingerprint": "f" * 32},
        "test_accuracy": 0.5,
    } | changes


def make_untrained(seed=0, **changes):
    info = make_info(**changes)
    side = info["resolution"]
    images = np.zeros((1, side, side, info["channels"]), np.uint8)
    network = make_network(info)
    variables = jax.jit(network.init, static_argnames="train")(
        jax.random.key(seed), images, train=False
    )
    return make_classifier(jax.device_get(variables), info)


def random_images(n, resolution=8, channels=1, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, resolution, resolution, channels), np.uint8)


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
@pytest.mark.parametrize("resolution", [8, 16, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_networks_take_all_sides_and_channels(architecture, resolution, channels):
    network = ARCHITECTURES[architecture](num_classes=7, width=32)
    images = jax.ShapeDtypeStruct((5, resolution, resolution, channels), np.uint8)

    def apply(images):
        variables = network.init(jax.random.key(0), images, train=False)
        return network.apply(variables, images, train=False)

    logits = jax.eval_shape(apply, images)
    assert (logits.shape, logits.dtype) == ((5, 7), np.float32)


def test_digit_classifier_has_the_stages_of_the_authors():
    images = np.zeros((1, 32, 32, 1), np.uint8)
    network = ARCHITECTURES["digit"](num_classes=10)
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), images, False))
    kernels = [p.shape for p in jax.tree.leaves(shapes["params"]) if len(p.shape) == 4]
    assert sorted(kernels) == [(3, 3, 1, 32), (3, 3, 32, 55), (3, 3, 55, 96)]


def test_each_image_has_its_own_logits_whatever_the_batch():
    classifier = make_untrained()
    images = random_images(300)
    logits = classifier.logits(images)
    alone = classifier.logits(images[280:283])
    np.testing.assert_allclose(logits[280:283], alone, atol=1e-5)
    assert len(np.unique(logits[:, 0])) == 300


def test_images_of_another_kind_raise():
    classifier = make_untrained()
    for images in (
        random_images(2, channels=3),
        random_images(2, resolution=16),
        random_images(2) / np.float32(255),
    ):
        with pytest.raises(ValueError, match=r"takes uint8 \[n, 8, 8, 1\]"):
            classifier.logits(images)


def test_what_is_written_is_read_with_the_same_logits(tmp_path):
    classifier = make_untrained()
    write_classifier(tmp_path / "new" / "digits.v1", classifier)
    again = read_classifier(tmp_path / "new" / "digits.v1", fingerprint="f" * 32)
    images = random_images(10)
    np.testing.assert_array_equal(again.logits(images), classifier.logits(images))
    assert str(again) == str(classifier)
    assert again.info == classifier.info


def test_digest_is_that_of_the_file(tmp_path):
    classifier = make_untrained()
    write_classifier(tmp_path / "digits", classifier)
    data = (tmp_path / "digits.safetensors").read_bytes()
    assert classifier.digest == hashlib.sha256(data).hexdigest()
    assert classifier.digest != make_untrained(seed=1).digest


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def change(**fields):
    def edit(path):
        path.write_text(json.dumps(seal(json.loads(path.read_text()) | fields)))

    return edit


@pytest.mark.parametrize(
    ("suffix", "damage", "words"),
    [
        ("safetensors", lambda path: path.unlink(), "No such .*digits.safetensors"),
        ("safetensors", flip_a_bit, "is not the file of .*digits.json"),
        ("safetensors", lambda path: path.write_bytes(b""), "is not the file of"),
        ("json", lambda path: path.unlink(), "No such file .*digits.json"),
        ("json", lambda path: path.write_text('{"width": '), "Expecting value"),
        ("json", lambda path: path.write_text("[]"), "cannot be read"),
        ("json", lambda path: path.write_text("[" * 10**5), "cannot be read"),
        ("json", change(architecture="transformer"), "KeyError: 'transformer'"),
        ("json", change(width=None), "TypeError"),
        ("json", change(num_classes=11), "describes other weights"),
        ("json", change(architecture="digit"), "describes other weights"),
        ("json", change(data_set={}), "KeyError: 'name'"),
    ],
)
def test_missing_and_damaged_files_are_one_line(tmp_path, suffix, damage, words):
    write_classifier(tmp_path / "digits", make_untrained())
    damage(tmp_path / f"digits.{suffix}")
    with pytest.raises(UserError, match=words) as caught:
        read_classifier(tmp_path / "digits")
    assert "tools.train_classifier" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_classifier_of_another_set_is_refused(tmp_path):
    write_classifier(tmp_path / "digits", make_untrained())
    with pytest.raises(
        UserError, match=r"trained on digits \(ffffffff.*another set \(00000000"
    ):
        read_classifier(tmp_path / "digits", fingerprint="0" * 32)


def test_no_flipped_bit_of_the_description_is_read_in_silence(tmp_path):
    write_classifier(tmp_path / "digits", make_untrained())
    path, info = tmp_path / "digits.json", read_classifier(tmp_path / "digits").info
    whole = path.read_bytes()
    for position in range(len(whole)):
        changed = bytes([whole[position] ^ 1 << position % 8])
        path.write_bytes(whole[:position] + changed + whole[position + 1 :])
        try:
            found = read_classifier(tmp_path / "digits").info
        except UserError as error:
            assert "\n" not in str(error)
        else:
            # Another kind of space, or the name of the checksum.
            assert {name: found.get(name) for name in info} == info


def test_a_description_without_a_checksum_is_taken_as_it_is(tmp_path):
    classifier = make_untrained()
    write_classifier(tmp_path / "digits", classifier)
    path = tmp_path / "digits.json"
    info = json.loads(path.read_text())
    del info["checksum"]
    path.write_text(json.dumps(info))
    assert read_classifier(tmp_path / "digits").info == classifier.info
