"""The check of released files, on a file in their structure."""

import hashlib

import numpy as np
import pytest
from absl.testing import flagsaver
from PIL import Image

import progan_jax
from progan_jax.errors import UserError
from progan_jax.metrics.frechet import statistics_of
from tests.stylegan_xl_golden import golden
from tests.torch_pickles import checkpoint, dumps


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("released") / "cifar10.pkl"
    path.write_bytes(dumps(checkpoint("stem")))
    return path


@pytest.fixture(scope="module")
def generator(file):
    return progan_jax.load(file)


@pytest.fixture
def tool(import_tool):
    return import_tool("check_released")


def test_the_images_of_the_readmes_seeds_are_drawn_and_hashed(
    tool, file, generator, tmp_path, capsys
):
    with flagsaver.flagsaver(out=str(tmp_path / "seeds.png")):
        tool.main(str(file))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "cifar10.pkl: 16x16, 5 classes, 12 layers"
    assert lines[1].split()[-1] == hashlib.sha256(file.read_bytes()).hexdigest()
    with Image.open(tmp_path / "seeds.png") as image:
        picture = np.asarray(image)
    assert picture.shape == (16, 96, 3)
    for n, seed in enumerate(range(10, 16)):
        z = np.random.RandomState(seed).randn(1, 16).astype(np.float32)
        label = np.random.RandomState(seed).randint(0, 5)
        w = generator.mapping(z, int(label))
        average = golden()["stem/G/mapping.w_avg"][label]
        theirs = generator.synthesis(average + 0.7 * (w - average))[0]
        pixels = np.floor(np.clip((theirs + 1) * 127.5, 0, 255))
        drawn = np.ascontiguousarray(picture[:, 16 * n : 16 * n + 16])
        # Rounding may move a value across a whole number.
        assert np.abs(drawn - pixels).max() <= 1
        assert lines[3 + n].split()[-2:] == [
            str(seed),
            hashlib.sha256(drawn.tobytes()).hexdigest(),
        ]


def test_the_hash_of_the_weights_changes_with_each_of_them(tool, generator, tmp_path):
    first = tool.hash_weights(generator)
    assert first == tool.hash_weights(generator)
    path = tmp_path / "other.pkl"
    path.write_bytes(dumps(checkpoint("stem")))
    assert tool.hash_weights(progan_jax.load(path)) == first
    other = progan_jax.load(path)
    other.variables["stats"]["w_average"] = other.variables["stats"]["w_average"] + 1e-6
    assert tool.hash_weights(other) != first


def test_fid_to_the_images_own_statistics_is_zero_and_grows_with_the_means(
    tool, generator
):
    def features(images):
        return images.reshape(len(images), -1)[:, :5].astype(np.float32)

    def drawn(seed, n):
        images = generator.sample(n, seed, truncation_psi=1.0)
        return features(np.clip(np.round(images * 127.5 + 127.5), 0, 255))

    found = np.concatenate([drawn(0, 64), drawn(1, 6)])
    own, moved = statistics_of(found), statistics_of(found + 3.0)
    assert tool.measure_fid(generator, features, own, 70) == pytest.approx(0, abs=0.01)
    fid = tool.measure_fid(generator, features, moved, 70)
    assert fid == pytest.approx(5 * 9, rel=0.01)


def test_a_reference_is_read_and_a_wrong_one_is_one_line(tool, tmp_path):
    path, mean = tmp_path / "reference.npz", np.arange(2048.0)
    np.savez(path, mu=mean, sigma=np.diag(mean))
    reference = tool.read_reference(path)
    np.testing.assert_array_equal(reference.mean, mean)
    np.testing.assert_allclose(reference.covariance, np.diag(mean))
    np.savez(path, mu=mean[:64], sigma=np.eye(64))
    (tmp_path / "text.npz").write_text("no arrays")
    np.savez(tmp_path / "other.npz", mean=mean)
    for name in ("reference.npz", "text.npz", "other.npz", "none.npz"):
        with pytest.raises(UserError, match=f"--reference=.*{name}: ") as caught:
            tool.read_reference(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_another_model_is_refused_in_one_line(tool):
    with pytest.raises(UserError, match="is not a pickle of StyleGAN-XL's authors"):
        tool.main(progan_jax.inference.load.list_shipped()[0])


def test_published_values_are_shown_beside_ours(
    tool, file, tmp_path, monkeypatch, capsys
):
    class Extractor:
        def __init__(self, weights):
            assert weights == "weights"

        def at(self, tap):
            return tap

    def fid(generator, features, reference, num):
        assert (generator.resolution, features, num) == (16, "2048", 4)
        assert not reference.mean.any()
        return 1.234

    monkeypatch.setattr(tool, "load_inception", lambda file: "weights")
    monkeypatch.setattr(tool, "InceptionExtractor", Extractor)
    monkeypatch.setattr(tool, "measure_fid", fid)
    path = tmp_path / "reference.npz"
    np.savez(path, mu=np.zeros(2048), sigma=np.eye(2048))
    flags = {"reference": str(path), "num": 4, "out": str(tmp_path / "x.png")}
    with flagsaver.flagsaver(**flags):
        tool.main(str(file))
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "FID of 4 images 1.23; published: 1.85"
