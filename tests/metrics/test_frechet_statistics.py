"""Streaming mean and covariance, against NumPy's on all features at once."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from progan_jax.errors import UserError
from progan_jax.metrics.frechet import FeatureStatistics


def make_features(seed, n, d=6):
    rng = np.random.default_rng(seed)
    # Far from zero, as the mean of rectified features is: sums of squares would lose
    # digits there.
    return rng.normal(1000, 1, (n, d)) @ rng.normal(size=(d, d))


def gather(parts, extractor="x"):
    statistics = FeatureStatistics(extractor)
    for part in parts:
        statistics.add(part)
    return statistics


@hypothesis.given(strategies.lists(strategies.integers(0, 40), max_size=8))
def test_any_split_gives_the_covariance_of_numpy(cuts):
    features = make_features(0, 40)
    statistics = gather(np.split(features, sorted(cuts)))
    assert statistics.count == 40
    np.testing.assert_allclose(statistics.mean, features.mean(0), rtol=1e-12)
    expected = np.cov(features, rowvar=False)
    np.testing.assert_allclose(
        statistics.covariance, expected, rtol=0, atol=1e-10 * np.abs(expected).max()
    )


def test_merged_parts_are_the_whole():
    features = make_features(1, 30)
    a, b = gather([features[:7]]), gather([features[7:]])
    a.merge(b)
    a.merge(FeatureStatistics("x"))
    whole = gather([features])
    assert a.count == 30
    np.testing.assert_allclose(a.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(a.covariance, whole.covariance, rtol=1e-9)
    np.testing.assert_array_equal(b.covariance, gather([features[7:]]).covariance)


def test_float32_features_are_summed_in_float64():
    features = make_features(2, 5000, d=2).astype(np.float32)
    statistics = gather(np.split(features, 50))
    expected = np.cov(features.astype(np.float64), rowvar=False)
    assert statistics.covariance.dtype == np.float64
    np.testing.assert_allclose(statistics.covariance, expected, rtol=1e-9)


def test_saved_statistics_are_read_bit_for_bit(tmp_path):
    statistics = gather([make_features(3, 9)], extractor="inception/2048 tf1")
    statistics.save(tmp_path / "new" / "reals.npz", key="a")
    read = FeatureStatistics.load(tmp_path / "new" / "reals.npz", key="a")
    assert (read.count, read.extractor) == (9, "inception/2048 tf1")
    np.testing.assert_array_equal(read.mean, statistics.mean)
    np.testing.assert_array_equal(read.covariance, statistics.covariance)


def test_another_key_is_refused(tmp_path):
    gather([make_features(4, 9)]).save(tmp_path / "reals.npz", key="a")
    with pytest.raises(UserError, match="statistics of 'a', not of 'b'"):
        FeatureStatistics.load(tmp_path / "reals.npz", key="b")


def test_a_flipped_bit_anywhere_is_noticed_or_harmless(tmp_path):
    path = tmp_path / "reals.npz"
    statistics = gather([make_features(5, 9, d=2)])
    statistics.save(path)
    whole, noticed = path.read_bytes(), 0
    for place in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        try:
            read = FeatureStatistics.load(path)
        except UserError as error:
            assert "reals.npz" in str(error)
            noticed += 1
        else:
            np.testing.assert_array_equal(read.covariance, statistics.covariance)
    assert noticed > len(whole) / 6


@pytest.mark.parametrize("content", ["cut", "empty", "text", "array", "missing"])
def test_files_that_are_not_statistics_name_themselves(tmp_path, content):
    path = tmp_path / "reals.npz"
    gather([make_features(5, 9)]).save(path)
    if content == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif content == "array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif content == "missing":
        path.unlink()
    else:
        path.write_bytes(b"" if content == "empty" else b"mean, covariance\n")
    with pytest.raises(UserError, match=r"reals.npz cannot be read .* remove it"):
        FeatureStatistics.load(path)


def test_features_that_are_not_finite_are_refused_and_leave_no_trace():
    statistics = gather([make_features(6, 5)])
    before = statistics.covariance
    bad = make_features(7, 5)
    bad[2, 3] = np.nan
    with pytest.raises(ValueError, match="1 of 5 images are not finite"):
        statistics.add(bad)
    assert statistics.count == 5
    np.testing.assert_array_equal(statistics.covariance, before)


def test_other_dimensions_are_refused():
    statistics = gather([make_features(8, 5, d=3)])
    with pytest.raises(ValueError, match="3 and of 4 dimensions are mixed"):
        statistics.add(make_features(8, 5, d=4))


def test_features_of_another_extractor_are_not_merged():
    a, b = FeatureStatistics("inception/2048 tf1"), FeatureStatistics("vgg19/conv5_2")
    with pytest.raises(ValueError, match=r"'inception/2048 tf1' and of 'vgg19/conv5"):
        a.merge(b)


@pytest.mark.parametrize("n", [0, 1])
def test_one_image_has_no_covariance(n):
    with pytest.raises(ValueError, match=rf"{n} image\(s\) have no covariance"):
        _ = gather([make_features(9, n)]).covariance


def test_no_flipped_bit_of_a_file_is_read_in_silence(tmp_path):
    path, whole = tmp_path / "a.npz", FeatureStatistics("it")
    whole.add(np.random.default_rng(0).standard_normal((5, 2)))
    whole.save(path, "key")
    data = path.read_bytes()
    for position in range(len(data)):
        changed = bytes([data[position] ^ 1 << position % 8])
        path.write_bytes(data[:position] + changed + data[position + 1 :])
        try:
            found = FeatureStatistics.load(path, "key")
        except UserError as error:
            assert "\n" not in str(error)
        else:  # Dates and such, which are nothing to us.
            assert (found.extractor, found.count) == ("it", 5)
            np.testing.assert_array_equal(found.mean, whole.mean)
            np.testing.assert_array_equal(found.covariance, whole.covariance)
