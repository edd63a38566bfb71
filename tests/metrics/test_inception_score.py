"""The score of logits, against closed forms."""

import math

import numpy as np
import pytest

from progan_jax.metrics.inception_score import score_from_logits
from tests.stylegan_xl_golden import golden


def test_scores_are_those_of_stylegan_xls_authors_program():
    logits = np.log(golden()["metric/probs"].astype(np.float64))
    expected = golden()["metric/inception_score"]
    np.testing.assert_allclose(score_from_logits(logits), expected, rtol=2e-6)


def test_equal_logits_score_one():
    logits = np.full((40, 7), 3.5)
    assert score_from_logits(logits) == (pytest.approx(1, abs=1e-12), 0)


def test_certain_and_balanced_classes_score_their_number():
    logits = np.tile(1000 * np.eye(8), (10, 1))
    mean, deviation = score_from_logits(logits)
    assert mean == pytest.approx(8, rel=1e-12)
    assert deviation == pytest.approx(0, abs=1e-12)


def test_certain_images_of_one_class_score_one():
    logits = np.tile([0, 500, 0], (20, 1)).astype(np.float32)
    assert score_from_logits(logits)[0] == pytest.approx(1, abs=1e-12)


def test_two_classes_predicted_with_certainty_p_have_a_closed_form():
    p = 0.9
    logits = np.log([[p, 1 - p], [1 - p, p]] * 10)
    entropy = -p * math.log(p) - (1 - p) * math.log(1 - p)
    expected = math.exp(math.log(2) - entropy)
    assert score_from_logits(logits)[0] == pytest.approx(expected, rel=1e-12)


def test_unequal_shares_score_the_exponent_of_their_entropy():
    shares = [5, 3, 2]
    logits = np.repeat(1000 * np.eye(3), shares, axis=0)
    expected = math.exp(-sum(s / 10 * math.log(s / 10) for s in shares))
    assert score_from_logits(logits, splits=1)[0] == pytest.approx(expected)


def test_splits_are_contiguous_and_their_deviation_is_of_the_population():
    # One split with four classes, three with one class each: scores 4, 1, 1, 1.
    classes = [0, 1, 2, 3] + [0] * 4 + [1] * 4 + [2] * 4
    mean, deviation = score_from_logits(1000 * np.eye(4)[classes], splits=4)
    assert mean == pytest.approx(7 / 4)
    assert deviation == pytest.approx(math.sqrt((2.25**2 + 3 * 0.75**2) / 4))


def test_a_constant_added_to_the_logits_of_an_image_changes_nothing():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(30, 5))
    shifted = logits + rng.normal(0, 1000, (30, 1))
    expected = score_from_logits(logits, splits=3)
    assert score_from_logits(shifted, splits=3) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("n", "splits"), [(41, 10), (10, 10), (0, 10), (5, 3)])
def test_numbers_that_do_not_split_raise(n, splits):
    with pytest.raises(ValueError, match=f"{n} images do not make {splits} equal"):
        score_from_logits(np.zeros((n, 4)), splits)


def test_logits_that_are_not_finite_raise():
    logits = np.zeros((20, 4), np.float32)
    logits[7] = np.nan
    with pytest.raises(ValueError, match="1 of 20 images are not finite"):
        score_from_logits(logits)
