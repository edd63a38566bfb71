"""What metrics take: chunks of images whatever their sizes, and finite features."""

import numpy as np
import pytest

from progan_jax.metrics.inputs import check_features, check_pair, in_chunks


def numbered(n, side=4):
    images = np.zeros((n, side, side, 3), np.uint8)
    images[:] = np.arange(n, dtype=np.uint8)[:, None, None, None]
    return images


@pytest.mark.parametrize("sizes", [(11,), (1,) * 11, (2, 9), (10, 0, 1), (3, 3, 3, 2)])
def test_chunks_hold_the_images_in_order_however_they_came(sizes):
    parts = iter(np.split(numbered(11), np.cumsum(sizes)[:-1]))
    chunks = list(in_chunks(parts, pixels=5 * 16, multiple=2))
    assert [len(chunk) for chunk in chunks] == [4, 4, 3]
    np.testing.assert_array_equal(np.concatenate(chunks), numbered(11))


def test_a_chunk_holds_a_multiple_at_least():
    chunks = list(in_chunks(numbered(7), pixels=1, multiple=3))
    assert [len(chunk) for chunk in chunks] == [3, 3, 1]


def test_no_images_make_no_chunk():
    assert not list(in_chunks(numbered(0), pixels=100))
    assert not list(in_chunks([], pixels=100))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 4, 4, 3), np.float32), "float32 must be uint8"),
        (np.full((2, 4, 4, 3), np.nan), "float64 must be uint8"),
        (np.zeros((2, 4, 5, 3), np.uint8), r"\[2, 4, 5, 3\] must be"),
        (np.zeros((4, 4, 3), np.uint8), r"\[4, 4, 3\] must be"),
        (np.zeros((2, 4, 4, 4), np.uint8), r"\[2, 4, 4, 4\] must be"),
    ],
)
def test_images_of_another_form_raise(images, message):
    with pytest.raises(ValueError, match=message):
        list(in_chunks(images, pixels=100))


def test_mixed_shapes_raise():
    with pytest.raises(ValueError, match=r"\[4, 4, 3\] and of \[8, 8, 3\] are mixed"):
        list(in_chunks([numbered(3), numbered(3, side=8)], pixels=5 * 16))


def test_features_that_are_not_finite_are_counted():
    features = np.zeros((5, 2))
    features[1, 0], features[3] = np.nan, np.inf
    with pytest.raises(ValueError, match="2 of 5 images are not finite"):
        check_features(features)


@pytest.mark.parametrize("features", [np.zeros(3), np.zeros((3, 2), np.uint8)])
def test_features_of_another_form_raise(features):
    with pytest.raises(ValueError, match=r"must be floating-point \[n, d\]"):
        check_features(features)


def test_features_of_different_dimensions_raise():
    with pytest.raises(ValueError, match="2 and of 3 dimensions"):
        check_pair(np.zeros((5, 2)), np.zeros((5, 3)))
