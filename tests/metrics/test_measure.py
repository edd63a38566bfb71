import numpy as np
import pytest

from progan_jax.data.pyramid import build_pyramid
from progan_jax.errors import UserError
from progan_jax.metrics.classifier import Classifier
from progan_jax.metrics.image_sources import Reals
from progan_jax.metrics.measure import MeasureOptions, Measurer
from progan_jax.metrics.ms_ssim import ms_ssim
from progan_jax.metrics.swd import average, swd


@pytest.fixture(scope="module")
def pyramid():
    noise = np.random.default_rng(0).normal(128, 40, (48, 16, 16, 3))
    pixels = np.clip(noise, 0, 255).astype(np.uint8)
    return build_pyramid("noise", pixels, None, 0)


@pytest.fixture
def reals(pyramid):
    return Reals(pyramid, 16, seed=3, mirror=False)


class Shifted:
    """Images that are brighter than the reals."""

    def __init__(self, reals, by):
        self.reals, self.by = reals, by

    def chunks(self, num_images):
        for images in self.reals.chunks(num_images):
            yield np.minimum(images.astype(int) + self.by, 255).astype(np.uint8)


def whole(source, num_images):
    return np.concatenate(list(source.chunks(num_images)))


def test_swd_and_ms_ssim_are_those_of_the_metrics_themselves(reals):
    figures = Measurer(reals, MeasureOptions(("swd", "ms_ssim"), num_images=24))
    fakes = Shifted(reals, 40)
    levels = swd(whole(reals, 24), whole(fakes, 24), seed=3)
    assert figures.measure("swd", fakes, 24) == pytest.approx(
        {"swd_16": levels[16], "swd_average": average(levels)}
    )
    assert figures.measure("ms_ssim", fakes, 24) == {
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
    figures = Measurer(reals, options)
    fakes = Shifted(reals, 40)
    values = figures.measure("modes", fakes, 40)
    digits = whole(fakes, 40)[:, 0, 0] % 10
    modes = (digits @ [100, 10, 1]).reshape(10, 4)
    found = [len(set(draw)) for draw in modes.tolist()]
    assert values["modes_found"] == np.mean(found)
    assert values["modes_found_std"] == pytest.approx(np.std(found))
    assert set(figures.names("modes")) <= set(values)
    assert figures.settings("modes")["evaluations"] == 10


def test_a_classifier_of_another_resolution_is_refused_before_any_work(
    reals, monkeypatch
):
    other = Classifier({}, {"resolution": 32}, "0" * 64)
    monkeypatch.setattr("progan_jax.metrics.measure.read_classifier", lambda *_: other)
    options = MeasureOptions(("modes",), num_images=40, classifier="digits")
    with pytest.raises(UserError, match=r"'digits' reads images of 32x32, and .* = 16"):
        Measurer(reals, options)


def test_settings_hold_all_that_a_figure_depends_on(reals):
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
    }


def test_names_of_figures_are_those_that_are_measured(reals):
    figures = Measurer(reals, MeasureOptions(("swd", "ms_ssim"), num_images=24))
    measured = figures.measure("swd", Shifted(reals, 40), 24)
    assert set(figures.names("swd")) == measured.keys()
    # Of images that are alike or unlike, neither is the best.
    assert figures.names("ms_ssim") == ()


class FakeExtractor:
    """Takes the place of Inception: moments of the pixels, and counts its images."""

    seen = 0

    class _At:
        name, fingerprint, resize = "stub/2048", "0", "tf1"

    def at(self, tap):
        return self._At

    def extract(self, images, taps):
        self.seen += len(images)
        flat = images.reshape(len(images), -1, 3).astype(np.float32) / 255
        moments = np.concatenate([flat.mean(1), flat.std(1)], axis=1)
        return dict.fromkeys(taps, moments)


@pytest.fixture
def by_features(reals, tmp_path, monkeypatch):
    """Figures by features of the stub, with a cache of their own."""
    monkeypatch.setenv("PROGAN_JAX_CACHE", str(tmp_path))
    monkeypatch.setattr("progan_jax.metrics.measure.load_inception", lambda file: None)
    monkeypatch.setattr("progan_jax.metrics.measure.require_tap", lambda *_: None)

    def make(*metrics, tap="2048", resize="tf1"):
        options = MeasureOptions(metrics, num_images=40, tap=tap, resize=resize)
        measurer = Measurer(reals, options)
        measurer.features.__dict__["_trained"] = FakeExtractor()
        return measurer

    return make


def test_all_taps_of_a_set_are_made_in_one_pass(by_features, reals):
    figures, fakes = by_features("fid", "sfid", "is", "pr"), Shifted(reals, 20)
    for metric in ("fid", "sfid", "is", "pr"):
        figures.measure(metric, fakes, 40)
    assert figures.features._trained.seen == 40 + 40


def test_statistics_of_the_reals_are_kept_from_run_to_run(by_features, reals):
    first, second = by_features("fid"), by_features("fid")
    value = first.measure("fid", Shifted(reals, 20), 40)
    assert second.measure("fid", Shifted(reals, 20), 40) == value
    assert (first.features._trained.seen, second.features._trained.seen) == (80, 40)


def test_distances_grow_with_the_shift_and_vanish_without(by_features, reals):
    figures = by_features("fid", "pr")
    near, far = (
        figures.measure("fid", Shifted(reals, by), 40)["fid"] for by in (5, 60)
    )
    assert 0 < near < far
    assert figures.measure("fid", reals, 40)["fid"] == pytest.approx(0, abs=1e-6)
    assert figures.measure("pr", reals, 40) == {"precision": 1.0, "recall": 1.0}
    assert figures.measure("pr", Shifted(reals, 120), 40)["precision"] == 0.0


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
def test_names_tell_tap_and_resize_mode(by_features, reals, metric, tap, resize, names):
    figures = by_features(metric, tap=tap, resize=resize)
    assert figures.measure(metric, Shifted(reals, 20), 40).keys() == names
