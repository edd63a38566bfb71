import numpy as np
import pytest

from progan_jax.data.pyramid import build_pyramid
from progan_jax.errors import UserError
from progan_jax.metrics.classifier import Classifier
from progan_jax.metrics.image_sources import Reals
from progan_jax.metrics.measure import MeasureOptions, Measurer
from progan_jax.metrics.ms_ssim import ms_ssim
from progan_jax.metrics.swd import average, swd
from progan_jax.weights.weight_files import Weights


@pytest.fixture(scope="module")
def pyramid():
    noise = np.random.default_rng(0).normal(128, 40, (48, 16, 16, 3))
    pixels = np.clip(noise, 0, 255).astype(np.uint8)
    return build_pyramid("noise", pixels, None, 0)


@pytest.fixture
def reals(pyramid):
    return Reals(pyramid, 16, seed=3, mirror=False)


class Shifted:
    """Fakes that are brighter than the real images."""

    def __init__(self, reals, by):
        self.reals, self.by = reals, by

    def chunks(self, num_images):
        for images in self.reals.chunks(num_images):
            yield np.minimum(images.astype(int) + self.by, 255).astype(np.uint8)


def whole(source, num_images):
    return np.concatenate(list(source.chunks(num_images)))


def test_swd_and_ms_ssim_equal_the_functions_of_the_metrics(reals):
    measurer = Measurer(reals, MeasureOptions(("swd", "ms_ssim"), num_images=24))
    fakes = Shifted(reals, 40)
    levels = swd(whole(reals, 24), whole(fakes, 24), seed=3)
    assert measurer.measure("swd", fakes, 24) == pytest.approx(
        {"swd_16": levels[16], "swd_average": average(levels)}
    )
    assert measurer.measure("ms_ssim", fakes, 24) == {
        "ms_ssim": ms_ssim(whole(fakes, 24))
    }


class FirstPixel(Classifier):
    """Reads a digit off an image's first pixel."""

    def logits(self, images):
        return np.eye(10)[images[:, 0, 0, 0] % 10]


def test_modes_are_counted_in_ten_draws_by_a_classifier_of_another_set(
    reals, monkeypatch
):
    info = {"architecture": "digit", "width": 32, "num_classes": 10, "channels": 1}
    info |= {"data_set": {"name": "mnist"}, "test_accuracy": 0.99, "resolution": 16}

    def read(path, fingerprint):
        assert (str(path), fingerprint) == ("digits", None)
        return FirstPixel({}, info, "0" * 64)

    monkeypatch.setattr("progan_jax.metrics.measure.read_classifier", read)
    options = MeasureOptions(("modes",), num_images=40, classifier="digits")
    measurer = Measurer(reals, options)
    fakes = Shifted(reals, 40)
    values = measurer.measure("modes", fakes, 40)
    digits = whole(fakes, 40)[:, 0, 0] % 10
    modes = (digits @ [100, 10, 1]).reshape(10, 4)
    found = [len(set(draw)) for draw in modes.tolist()]
    assert values["modes_found"] == np.mean(found)
    assert values["modes_found_std"] == pytest.approx(np.std(found))
    assert set(measurer.names("modes")) <= set(values)
    assert measurer.settings("modes")["evaluations"] == 10


def test_a_classifier_of_another_resolution_is_refused_before_any_work(
    reals, monkeypatch
):
    other = Classifier({}, {"resolution": 32}, "0" * 64)
    monkeypatch.setattr("progan_jax.metrics.measure.read_classifier", lambda *_: other)
    options = MeasureOptions(("modes",), num_images=40, classifier="digits")
    with pytest.raises(UserError, match=r"'digits' takes images of 32x32, and .* = 16"):
        Measurer(reals, options)


def test_settings_have_all_that_a_value_depends_on(reals):
    settings = Measurer(reals, MeasureOptions(("swd",), num_images=48)).settings("swd")
    assert settings == {
        "num_images": 48,
        "num_reals": 48,
        "patches": 128,
        "directions": 512,
        "resolution": 16,
        "channels": 3,
        "mirror": False,
        "seed": 3,
        "data_set": "noise",
        "data_fingerprint": reals.pyramid.fingerprint,
        "truncation_psi": 1.0,
    }


def test_names_of_values_are_those_that_are_measured(reals):
    measurer = Measurer(reals, MeasureOptions(("swd", "ms_ssim"), num_images=24))
    measured = measurer.measure("swd", Shifted(reals, 40), 24)
    assert set(measurer.names("swd")) == measured.keys()
    # Of images that are alike or unlike, neither is the best.
    assert measurer.names("ms_ssim") == ()


STUB = Weights("stub", {})


class FakeExtractor:
    """Stands in for Inception: moments of the pixels; counts its images."""

    seen = 0

    def __init__(self, weights, **options):
        self.weights = weights

    def extract(self, images, taps):
        FakeExtractor.seen += len(images)
        flat = images.reshape(len(images), -1, 3).astype(np.float32) / 255
        moments = np.concatenate([flat.mean(1), flat.std(1)], axis=1)
        return dict.fromkeys(taps, moments)


@pytest.fixture
def by_features(reals, tmp_path, monkeypatch):
    """Returns a function that makes a measurer with the stub and its own cache."""
    monkeypatch.setenv("PROGAN_JAX_CACHE", str(tmp_path))
    module = "progan_jax.metrics.features"
    monkeypatch.setattr(f"{module}.load_inception", lambda file: STUB)
    monkeypatch.setattr(f"{module}.require_tap", lambda weights, tap: None)
    monkeypatch.setattr(f"{module}.InceptionExtractor", FakeExtractor)
    monkeypatch.setattr(FakeExtractor, "seen", 0)

    def make(*metrics, tap="2048", resize="tf1"):
        options = MeasureOptions(metrics, num_images=40, tap=tap, resize=resize)
        return Measurer(reals, options)

    return make


def test_all_taps_of_a_set_are_made_in_one_pass(by_features, reals):
    measurer, fakes = by_features("fid", "sfid", "is", "pr"), Shifted(reals, 20)
    for metric in ("fid", "sfid", "is", "pr"):
        measurer.measure(metric, fakes, 40)
    assert FakeExtractor.seen == 40 + 40


def test_statistics_of_the_real_images_are_kept_from_run_to_run(by_features, reals):
    first, second = by_features("fid"), by_features("fid")
    value = first.measure("fid", Shifted(reals, 20), 40)
    assert FakeExtractor.seen == 80
    assert second.measure("fid", Shifted(reals, 20), 40) == value
    assert FakeExtractor.seen == 80 + 40


def test_distances_grow_with_the_shift_and_vanish_without(by_features, reals):
    measurer = by_features("fid", "pr")
    near, far = (
        measurer.measure("fid", Shifted(reals, by), 40)["fid"] for by in (5, 60)
    )
    assert 0 < near < far
    assert measurer.measure("fid", reals, 40)["fid"] == pytest.approx(0, abs=1e-6)
    assert measurer.measure("pr", reals, 40) == {"precision": 1.0, "recall": 1.0}
    assert measurer.measure("pr", Shifted(reals, 120), 40)["precision"] == 0.0


@pytest.mark.parametrize(
    ("metric", "tap", "resize", "names"),
    [
        ("fid", "2048", "tf1", {"fid"}),
        ("fid", "768", "tf1", {"fid_768"}),
        ("fid", "768", "clean", {"fid_768_clean"}),
        ("sfid", "768", "tf1", {"sfid"}),
        ("is", "768", "clean", {f"inception_score_clean_{x}" for x in ("mean", "std")}),
        ("pr", "192", "tf1", {"precision_192", "recall_192"}),
    ],
)
def test_names_show_tap_and_resize_mode(by_features, reals, metric, tap, resize, names):
    measurer = by_features(metric, tap=tap, resize=resize)
    assert measurer.measure(metric, Shifted(reals, 20), 40).keys() == names


@pytest.mark.parametrize(
    ("metric", "resize", "psi", "names"),
    [
        ("fid", "tf1", 0.7, {"fid_psi0.7"}),
        ("pr", "clean", -1, {"precision_clean_psi-1", "recall_clean_psi-1"}),
        ("swd", "tf1", 0.5, {"swd_16_psi0.5", "swd_average_psi0.5"}),
    ],
)
def test_names_and_settings_show_the_truncation(
    by_features, reals, metric, resize, psi, names
):
    measurer = by_features(metric, resize=resize)
    values = measurer.measure(metric, Shifted(reals, 20), 40, psi)
    assert values.keys() == names
    assert set(measurer.names(metric, psi)) == names
    assert measurer.settings(metric, psi)["truncation_psi"] == psi
