import hashlib
import importlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from progan_jax.data import sources
from progan_jax.errors import UserError

_F = tfds.features
_CLASSES = ["ant", "bee", "cat"]


def _png(image):
    """Returns pixels or a Pillow image as a PNG file, which TFDS stores as it is."""
    file = io.BytesIO()
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(file, "PNG")
    return file.getvalue()


def _pixels(n, h=8, w=8, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    shape = (n, h, w, channels) if channels > 1 else (n, h, w)
    return rng.integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def write_bugs(write_tfds):
    """Writes 11 images 8x8 of three classes, with a feature that is not used."""

    def write(name="cifar10", pixels=None, shape=(8, 8, 3), labels=None, **kwargs):
        pixels = _pixels(11) if pixels is None else pixels
        labels = [i % 3 for i in range(len(pixels))] if labels is None else labels
        features = {
            "id": _F.Text(),
            "image": _F.Image(shape=shape),
            "label": _F.ClassLabel(names=_CLASSES),
        }
        examples = [
            {"id": f"bug_{i}", "image": _png(image), "label": labels[i]}
            for i, image in enumerate(pixels)
        ]
        splits = {"train": examples, "test": examples[:2], "empty": []}
        return str(write_tfds(name, features, splits, **kwargs))

    return write


def _load(name, data_dir, split="train", resolution=8, max_memory_mib=1.0):
    return sources.load(name, str(data_dir), split, resolution, max_memory_mib)


def _error(*args, **kwargs):
    """Returns the one line that loading raises."""
    with pytest.raises(UserError) as caught:
        _load(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


# The digits.


def _digits():
    """Returns the values as they were counted, [1797, 8, 8] of 0..16, and classes."""
    with np.load(Path(sources.__file__).with_name("digits.npz")) as digits:
        return digits["images"], digits["labels"]


def test_digits_are_those_that_scikit_learn_copied_from_uci():
    images, labels = _digits()
    # Images of each class, as UCI's page counts them in its test set.
    counts = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(labels).tolist() == counts
    # Of load_digits() of scikit-learn 1.9.1, its values as bytes.
    assert [hashlib.sha256(a.tobytes()).hexdigest()[:16] for a in (images, labels)] == [
        "8f26b2bd9d135c25",
        "8ba4f891220f5e4c",
    ]


@pytest.mark.parametrize(
    ("resolution", "digest"),
    [(4, "0ded27df5acad0e4"), (32, "9654b3e75b17df54"), (64, "c9c4773aaf74f050")],
)
def test_digits_have_the_fingerprint_that_earlier_runs_recorded(resolution, digest):
    assert sources.load_digits(resolution).fingerprint.startswith(digest)


def test_digits_are_grey_bytes_of_ten_classes():
    pyramid = _load("digits", "", resolution=32, max_memory_mib=3)
    assert sorted(pyramid.levels) == [4, 8, 16, 32]
    assert pyramid.levels[32].shape == (1797, 32, 32, 1)
    assert pyramid.levels[32].dtype == np.uint8
    assert pyramid.num_classes == 10
    assert pyramid.labels is not None and pyramid.labels.dtype == np.int32
    np.testing.assert_array_equal(pyramid.labels, _digits()[1])
    assert "".join(pyramid.class_names) == "0123456789"


def test_digits_keep_their_strokes_and_end_within_the_picture():
    images = sources.load_digits(32).levels[32][..., 0].astype(np.float64)
    # An empty pixel of ten all round is 3.2 pixels here; bicubic leaves 3 of 255 there.
    for border in (images[:, [0, 1, -2, -1]], images[:, :, [0, 1, -2, -1]]):
        assert border.max() <= 3
    # Ink is what it was: 8x8 of the 10x10 field, 0..16 scaled to 0..255.
    ink = _digits()[0].mean(axis=(1, 2)) * (255 / 16) * 0.8**2
    np.testing.assert_allclose(images.mean(axis=(1, 2)), ink, rtol=0.05)
    # Strokes lie where they were: the centre of mass, in digits' pixels.
    digits = np.pad(_digits()[0], ((0, 0), (1, 1), (1, 1)))
    for axis in (1, 2):
        centres = [
            (x.sum(axis=3 - axis) * (np.arange(x.shape[axis]) + 0.5)).sum(axis=1)
            / x.sum(axis=(1, 2))
            / x.shape[axis]
            for x in (images, digits)
        ]
        np.testing.assert_allclose(*centres, atol=0.01)


def test_digits_have_a_train_split_and_a_size():
    assert _error("digits", "", split="test", max_memory_mib=99) == (
        "config.data.split = 'test': digits has no images in such a split; choose one "
        "of: train"
    )
    message = _error("digits", "", resolution=32, max_memory_mib=2)
    assert message.startswith("config.data.name = 'digits': its pyramid takes 2.3 MiB")


# TFDS sets.


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_tfds_set_is_read_as_written(write_bugs, file_format):
    pixels = _pixels(11)
    pyramid = _load("cifar10", write_bugs(pixels=pixels, file_format=file_format))
    np.testing.assert_array_equal(pyramid.levels[8], pixels)
    assert sorted(pyramid.levels) == [4, 8]
    assert pyramid.labels is not None and pyramid.labels.dtype == np.int32
    assert pyramid.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1]
    assert (pyramid.name, pyramid.num_classes) == ("cifar10", 3)
    assert pyramid.class_names == tuple(_CLASSES)


def test_split_is_read(write_bugs):
    assert _load("cifar10", write_bugs(), split="test").num_images == 2


def test_chunks_and_threads_keep_the_order(write_bugs, monkeypatch):
    data_dir = write_bugs(pixels=_pixels(11))
    monkeypatch.setattr(sources, "_CHUNK", 2)
    monkeypatch.setattr(sources, "_THREADED_FROM", 8)
    pyramid = _load("cifar10", data_dir)
    np.testing.assert_array_equal(pyramid.levels[8], _pixels(11))


def test_tensors_without_labels_are_read(write_tfds):
    pixels = _pixels(5)[..., :1]
    encodings = {"plain": _F.Encoding.NONE, "bytes": _F.Encoding.BYTES}
    for name, encoding in encodings.items():
        feature = _F.Tensor(shape=(8, 8, 1), dtype=np.uint8, encoding=encoding)
        examples = [{"image": image} for image in pixels]
        data_dir = write_tfds(name, {"image": feature}, {"train": examples})
        pyramid = _load(name, data_dir)
        np.testing.assert_array_equal(pyramid.levels[8], pixels)
        assert (pyramid.labels, pyramid.num_classes) == (None, 0)


def test_label_that_is_no_class_is_left_out(write_tfds):
    features = {"image": _F.Image(shape=(8, 8, 3)), "label": _F.Text()}
    examples = [{"image": _png(image), "label": "x"} for image in _pixels(2)]
    pyramid = _load("set", write_tfds("set", features, {"train": examples}))
    assert (pyramid.labels, pyramid.num_classes) == (None, 0)


def test_unlabelled_split_has_no_classes(write_bugs):
    pyramid = _load("cifar10", write_bugs(labels=[-1] * 11))
    assert (pyramid.labels, pyramid.num_classes) == (None, 0)
    assert pyramid.class_names == ()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[:60] + b"zzzz" + data[64:], "broken data stream"),
        (lambda data: b"text", "cannot identify image file"),
        (lambda data: b"", "cannot identify image file"),
        (lambda data: data[:16] + 2 * struct.pack(">I", 9000) + data[24:], "9000x9000"),
    ],
)
@pytest.mark.parametrize("which", [0, 2])
def test_a_damaged_image_of_a_set_is_reported_in_a_line(
    write_tfds, damage, reason, which
):
    files = [_png(image) for image in _pixels(4)]
    files[which] = damage(files[which])
    if reason == "9000x9000":  # The header has a checksum, too.
        head = files[which][12:29]
        crc = struct.pack(">I", zlib.crc32(head))
        files[which] = files[which][:29] + crc + files[which][33:]
    features = {"image": _F.Image(shape=(None, None, 3))}
    data_dir = write_tfds("set", features, {"train": [{"image": f} for f in files]})
    message = _error("set", data_dir)
    assert message.startswith("config.data.name = 'set': it has a damaged image (")
    assert reason in message and "\n" not in message and "0x7f" not in message


def test_undeclared_sizes_are_read_from_the_images(write_bugs):
    pyramid = _load("cifar10", write_bugs(shape=(None, None, 3)))
    np.testing.assert_array_equal(pyramid.levels[8], _pixels(11))


def test_grey_and_palette_files_of_a_colour_set_become_colour(write_tfds):
    grey = _pixels(1, channels=1)[0]
    red = np.tile(np.uint8([200, 10, 10]), (8, 8, 1))
    palette = Image.fromarray(red).quantize(colors=2)
    assert palette.mode == "P"
    examples = [{"image": _png(grey)}, {"image": _png(palette)}]
    features = {"image": _F.Image(shape=(8, 8, 3))}
    data_dir = write_tfds("set", features, {"train": examples})
    images = _load("set", data_dir).levels[8]
    np.testing.assert_array_equal(images[0], np.stack([grey] * 3, axis=-1))
    np.testing.assert_array_equal(images[1], red)


def test_grey_set_has_one_channel(write_bugs):
    pixels = _pixels(11, channels=1)
    pyramid = _load("mnist", write_bugs("mnist", pixels, shape=(8, 8, 1)))
    np.testing.assert_array_equal(pyramid.levels[8][..., 0], pixels)


def test_newest_version_of_a_configuration_is_read(write_bugs):
    for seed, version in enumerate(["9.0.0", "10.0.1", "10.0.0"]):
        data_dir = write_bugs(
            "set", _pixels(4, seed=seed), config="small", version=version
        )
    unfinished = Path(data_dir, "set", "small", "incomplete.X_11.0.0")
    unfinished.mkdir()
    (unfinished / "features.json").touch()
    images = _load("set/small", data_dir).levels[8]
    np.testing.assert_array_equal(images, _pixels(4, seed=1))


def test_data_dir_is_by_default_that_of_tfds(write_bugs, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", write_bugs())
    assert _load("cifar10", "").num_images == 11


# Mistakes.


def _preparation(data_dir, name="cifar10"):
    return (
        "prepare it by: pip install tensorflow-cpu importlib_resources && "
        'python -c "import '
        f"tensorflow_datasets as tfds; tfds.builder('{name}', data_dir='{data_dir}', "
        "file_format='array_record').download_and_prepare()\""
    )


def test_missing_folder_is_refused_with_the_command_that_fills_it(tmp_path):
    missing = tmp_path / "nowhere"
    assert _error("cifar10", missing) == (
        f"config.data.data_dir = '{missing}' is not a folder; name the folder of your "
        f"TFDS sets, or {_preparation(missing)}"
    )


def test_missing_default_folder_is_named(tmp_path, monkeypatch):
    missing = tmp_path / "nowhere"
    monkeypatch.setenv("TFDS_DATA_DIR", str(missing))
    assert _error("cifar10", "").startswith(
        f"config.data.data_dir = '' (that is, '{missing}') is not a folder; name the"
    )


def test_unprepared_set_is_refused_with_those_that_are_there(write_bugs, tmp_path):
    assert "(there: nothing)" in _error("cifar10", tmp_path)
    write_bugs("svhn", config="b")
    write_bugs("mnist")
    assert _error("cifar10", tmp_path) == (
        "config.data.name = 'cifar10': there is no such set in config.data.data_dir = "
        f"'{tmp_path}' (there: mnist, svhn); name another set or folder, or "
        f"{_preparation(tmp_path)}"
    )


def test_a_set_of_several_configurations_is_prepared_by_one_of_them(tmp_path):
    assert _error("imagenet_resized", tmp_path).endswith(
        "or name one of the configurations of imagenet_resized as "
        "imagenet_resized/CONFIG: 8x8, 16x16, 32x32, 64x64"
    )
    one = "imagenet_resized/32x32"
    assert _error(one, tmp_path).endswith(_preparation(tmp_path, one))


@pytest.mark.parametrize(
    ("name", "recipe"),
    [("celeba", "celeba"), ("lsun/cat", "lsun"), ("stacked_mnist", "mnist_modes")],
)
def test_sets_of_our_recipes_are_prepared_by_the_command_in_their_recipe(
    tmp_path, name, recipe
):
    assert _error(name, tmp_path).endswith(
        f"prepare it by the command in configs/{recipe}.py"
    )
    text = importlib.import_module(f"progan_jax.configs.{recipe}").__doc__
    assert "python -m progan_jax.tools.prepare_data" in text


def test_bucket_is_refused(tmp_path):
    assert _error("cifar10", "gs://bucket/sets").startswith(
        "config.data.data_dir=gs://bucket/sets: only mounted folders can be used; mount"
    )


def test_set_outside_the_catalogue_gets_no_command(tmp_path):
    assert _error("my_bugs", tmp_path) == (
        "config.data.name = 'my_bugs': there is no such set in config.data.data_dir = "
        f"'{tmp_path}' (there: nothing); name another set or folder, or prepare your "
        "images by progan_jax.tools.prepare_data"
    )


@pytest.mark.parametrize("split", ["valid", "empty", ""])
def test_unknown_split_is_refused_with_the_existing_ones(write_bugs, split):
    assert _error("cifar10", write_bugs(), split=split) == (
        f"config.data.split = {split!r}: cifar10 has no images in such a split; choose "
        "one of: train, test"
    )


def test_images_of_another_size_are_refused(write_bugs):
    assert _error("cifar10", write_bugs(), resolution=16) == (
        "config.model.resolution = 16: the images of cifar10 are 8x8, and must be "
        "16x16, as those of the last stage; prepare them by prepare_data "
        "--resolution=16, or train stages up to 8x8"
    )


@pytest.mark.parametrize("shape", [(8, 6, 3), (None, None, 3)])
def test_images_that_are_not_square_are_refused(write_bugs, shape):
    data_dir = write_bugs(pixels=_pixels(3, h=8, w=6), shape=shape)
    assert _error("cifar10", data_dir) == (
        "config.data.name = 'cifar10': its images are 8x6, and must be square; choose "
        "another set"
    )


def test_images_of_varying_size_are_refused(write_bugs):
    pixels = [*_pixels(3), _pixels(1, h=16, w=16)[0]]
    data_dir = write_bugs(pixels=pixels, shape=(None, None, 3))
    assert _error("cifar10", data_dir) == (
        "config.data.name = 'cifar10': its images differ in shape: [8, 8, 3], and "
        "[16, 16, 3] of image 3; choose a set of images of one size"
    )


def test_set_without_images_is_refused(write_tfds):
    features = {"text": _F.Text(), "label": _F.ClassLabel(names=_CLASSES)}
    examples = [{"text": "x", "label": 0}] * 2
    data_dir = write_tfds("words", features, {"train": examples})
    assert _error("words", data_dir) == (
        "config.data.name = 'words': its features (label, text) have no 'image'; "
        "choose a set of images, or prepare it with prepare_data --image_feature=NAME"
    )


@pytest.mark.parametrize(
    ("feature", "example", "found"),
    [
        (_F.Tensor(shape=(8, 8, 3), dtype=np.float32), (8, 8, 3), "float32 [8, 8, 3]"),
        (_F.Tensor(shape=(8, 8), dtype=np.uint8), (8, 8), "uint8 [8, 8]"),
        (_F.Tensor(shape=(8, 8, 4), dtype=np.uint8), (8, 8, 4), "uint8 [8, 8, 4]"),
    ],
)
def test_images_of_another_type_are_refused(write_tfds, feature, example, found):
    examples = [{"image": np.zeros(example, feature.np_dtype)}] * 2
    data_dir = write_tfds("odd", {"image": feature}, {"train": examples})
    assert _error("odd", data_dir) == (
        f"config.data.name = 'odd': its 'image' is {found}, and must be uint8 "
        "[h, w, 1 or 3]; choose another set"
    )


def test_set_too_large_for_memory_is_refused_before_it_is_read(write_bugs):
    data_dir = write_bugs(pixels=_pixels(2000))
    # 2,000 x 8 x 8 x 3 bytes and a third of them are 0.49 MiB.
    assert _load("cifar10", data_dir, max_memory_mib=0.5).num_images == 2000
    assert _error("cifar10", data_dir, max_memory_mib=0.25) == (
        "config.data.name = 'cifar10': its pyramid takes 0.5 MiB of memory, more than "
        "config.data.max_memory_mib = 0.25; raise the limit if the machine has the "
        "memory, or choose a smaller set"
    )


@pytest.mark.parametrize("file_format", ["riegeli", "parquet"])
def test_format_that_is_not_read_is_refused(write_bugs, file_format):
    data_dir = write_bugs(file_format=file_format)
    assert _error("cifar10", data_dir) == (
        f"config.data.name = 'cifar10': {data_dir}/cifar10/1.0.0 is written as "
        f"{file_format}, and only array_record and tfrecord are read without "
        f"TensorFlow; move that folder away and {_preparation(data_dir)}"
    )
