"""Linear separability: the authors' entropies, and classifiers of known attributes."""

import numpy as np
import pytest

from progan_jax.metrics.separability import conditional_entropy, separability, shares
from tests.stylegan_golden import golden

pytest.importorskip("sklearn")


def test_conditional_entropies_and_score_are_the_authors():
    tables = golden()["metrics/ls_tables"]
    entropies = [conditional_entropy(table) for table in tables]
    expected = golden()["metrics/ls_conditional_entropy"]
    np.testing.assert_allclose(entropies, expected, atol=1e-6)
    score = float(golden()["metrics/ls_score"])
    assert 2 ** sum(entropies) == pytest.approx(score, rel=1e-6)


def test_shares_have_predictions_in_rows_and_labels_in_columns():
    predicted, labels = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    np.testing.assert_array_equal(shares(predicted, labels), [[0.25, 0.25], [0, 0.5]])


def draw(n=2000, size=4):
    return np.random.default_rng(0).standard_normal((n, size), np.float32)


def test_what_a_plane_separates_has_one_and_each_unknown_attribute_doubles_it():
    z = draw()
    random = np.random.default_rng(1).standard_normal((len(z), 2))
    assert separability(z, z[:, :1]) == pytest.approx(1, abs=0.01)
    assert separability(z, random[:, :1]) == pytest.approx(2, abs=0.02)
    logits = np.concatenate([z[:, :1], random], axis=1)
    assert separability(z, logits) == pytest.approx(4, abs=0.08)


def test_an_attribute_that_all_images_have_separates_them():
    z = draw(100)
    assert separability(z, np.ones((100, 1))) == 1


def test_only_the_surer_half_counts_and_the_first_of_equals():
    z = draw(400)
    # The less sure half has labels that contradict the others.
    logits = np.where(np.arange(400) < 200, 30 + np.abs(z[:, 0]), 0.1)
    signs = np.where(np.arange(400) < 200, np.sign(z[:, 0]), -np.sign(z[:, 0]))
    assert separability(z, (logits * signs)[:, None]) == pytest.approx(1, abs=0.05)
    # In float32 the probabilities of 30 and 40 are both 1.
    logits = np.where(np.arange(400) < 200, 30.0, 40.0)
    assert separability(z, (logits * signs)[:, None]) == pytest.approx(1, abs=0.05)
