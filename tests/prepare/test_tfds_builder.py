"""Sets that TFDS prepares by its own builders: the library itself, offline."""

import importlib.resources
import importlib.util
import io
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core.download import downloader

from progan_jax.data.sources import load
from progan_jax.errors import UserError
from progan_jax.prepare.tfds_builder import build, is_missing
from tests.in_process import run_tool

TOOL = "progan_jax.tools.prepare_data"


def pixels(number):
    return np.full((8, 8, 3), 20 * number, np.uint8)


class FlatColours(tfds.core.GeneratorBasedBuilder):
    """Six images of one colour each, in two classes."""

    VERSION = tfds.core.Version("1.2.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(8, 8, 3)),
            "label": tfds.features.ClassLabel(names=["even", "odd"]),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _image(self, number):
        file = io.BytesIO()
        Image.fromarray(pixels(number)).save(file, "PNG")
        file.seek(0)
        return file

    def _generate_examples(self):
        for number in range(6):
            yield number, {"image": self._image(number), "label": number % 2}


class FlatPixels(FlatColours):
    """The same, as pixels, which TFDS encodes by TensorFlow."""

    VERSION = tfds.core.Version("1.2.0")

    def _image(self, number):
        return pixels(number)


class Sentences(FlatColours):
    """A set without images."""

    VERSION = tfds.core.Version("1.2.0")

    def _info(self):
        features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features)


class ListedColours(FlatColours):
    """The same, with the splits that TFDS lists of a set before the download."""

    VERSION = tfds.core.Version("1.2.0")

    def _info(self):
        info = super()._info()
        template = tfds.core.ShardedFileTemplate(
            "/nowhere", "{DATASET}-{SPLIT}.{FILEFORMAT}", self.name, "train", "x"
        )
        train = tfds.core.SplitInfo(
            name="train", shard_lengths=[6], num_bytes=0, filename_template=template
        )
        info.set_splits(tfds.core.splits.SplitDict([train]))
        return info


@pytest.fixture(autouse=True)
def preparing(monkeypatch):
    """What TFDS needs to prepare: importlib_resources, of which Python has a copy."""
    if importlib.util.find_spec("importlib_resources") is None:
        monkeypatch.setitem(sys.modules, "importlib_resources", importlib.resources)


def test_a_set_that_is_not_there_is_built_by_its_own_builder(tmp_path):
    root, out = tmp_path / "sets", tmp_path / "out"
    arguments = "--resolution=8", f"--data_dir={root}", f"--out={out}"
    done = run_tool(TOOL, "tfds:flat_colours", *arguments)
    assert done.returncode == 0, done.stderr
    assert f"tfds:flat_colours is not in {root}: TFDS downloads and p" in done.stdout
    assert (root / "flat_colours" / "1.2.0" / "features.json").is_file()
    pyramid = load("flat_colours", str(out), "train", 8, 100)
    images = np.sort(pyramid.levels[8][np.arange(6)], axis=0)
    np.testing.assert_array_equal(images, np.stack([pixels(n) for n in range(6)]))
    assert pyramid.class_names == ("even", "odd")
    again = run_tool(TOOL, "tfds:flat_colours", "--name=again", *arguments)
    assert "TFDS downloads" not in again.stdout
    assert not is_missing("flat_colours", root)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cifar_10", r"TFDS has none of that name \(did you mean cifar10"),
        ("nonsense_of_ours", r"TFDS has none of that name; name another set, or"),
        ("lsun", r"lsun has configurations; name one as lsun/CONFIG: \w+"),
        ("lsun/clowns", r"lsun has configurations; name one as lsun/CONFIG: \w+"),
        ("mnist/", r"mnist has no configurations; write tfds:mnist$"),
        ("lsun/", r"lsun has configurations; name one as lsun/CONFIG: \w+"),
        ("mnist/small", r"mnist has no configurations; write tfds:mnist$"),
    ],
)
def test_a_name_that_tfds_does_not_know_is_a_line(name, expected, tmp_path):
    with pytest.raises(UserError, match=f"^tfds:{name}: .*{expected}") as error:
        is_missing(name, tmp_path / "sets")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "sets").exists()


def test_a_slash_after_the_name_of_a_set_that_is_there_is_refused(tmp_path):
    build("flat_colours", tmp_path, "train", "image")
    with pytest.raises(UserError, match=r"; write tfds:flat_colours$"):
        is_missing("flat_colours/", tmp_path)


@pytest.mark.parametrize(
    ("name", "flags", "expected"),
    [
        ("sentences", [], "tfds:sentences: its features (text) have no 'image'"),
        ("sentences", ["--image_feature=text"], "its 'text' is no image, and must be"),
        (
            "flat_colours",
            ["--image_feature=picture"],
            "tfds:flat_colours: its features (image, label) have no 'picture'",
        ),
        (
            "listed_colours",
            ["--split=trian"],
            "--split = 'trian': listed_colours has no images in such a split; choose "
            "one of: train",
        ),
    ],
)
def test_what_a_set_does_not_have_is_a_line_before_the_download(
    name, flags, expected, tmp_path
):
    arguments = "--resolution=8", f"--data_dir={tmp_path}", f"--out={tmp_path / 'out'}"
    done = run_tool(TOOL, f"tfds:{name}", *arguments, *flags)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert expected in line
    assert "TFDS downloads" not in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_library_that_a_builder_imports_is_named_with_its_installation(
    tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError) as error:
        is_missing("sift1m", tmp_path)
    assert str(error.value) == (
        "tfds:sift1m: TFDS needs h5py to prepare it, which is not installed; pip "
        "install h5py"
    )


def test_without_a_network_a_line_names_what_to_check(tmp_path, monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    # TFDS tries ten times, for three minutes.
    monkeypatch.setattr(downloader, "MAX_RETRIES", 0)
    arguments = "--resolution=32", f"--data_dir={tmp_path / 'sets'}"
    done = run_tool(TOOL, "tfds:mnist", *arguments, f"--out={tmp_path / 'out'}")
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("error: tfds:mnist: TFDS cannot prepare it (HTTPSConn")
    assert "; check the network and what" in line


def test_what_has_to_be_downloaded_by_hand_is_a_line(tmp_path):
    expected = r"cannot prepare it \(Manual directory .* does not exist or is empty"
    with pytest.raises(UserError, match=expected) as error:
        build("celeb_a_hq/64", tmp_path, "train", "image")
    assert "\n" not in str(error.value)


def test_a_missing_library_is_named_with_its_installation(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    expected = (
        "tfds:flat_pixels: TFDS needs tensorflow to prepare it, which is not "
        "installed; pip install importlib_resources tensorflow-cpu"
    )
    with pytest.raises(UserError) as error:
        build("flat_pixels", tmp_path, "train", "image")
    assert str(error.value) == expected
