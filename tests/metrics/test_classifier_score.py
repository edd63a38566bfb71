import math
from types import SimpleNamespace

import numpy as np
import pytest

from progan_jax.metrics.classifier import Classifier
from progan_jax.metrics.classifier_score import measure


class Reader(Classifier):
    """Returns the first pixels of an image as its logits."""

    def logits(self, images):
        return images[:, 0, :3, 0].astype(np.float64)


def measure_images(images, splits):
    return measure(
        SimpleNamespace(
            classifier=Reader({}, {}, "0" * 64),
            chunks=lambda: iter(np.array_split(images, 2)),
            constants={"splits": splits},
        )
    )


def images_of_classes(classes):
    """Images whose first three pixels are certain of their class."""
    images = np.zeros((len(classes), 8, 8, 1), np.uint8)
    images[:, 0, :3, 0] = 255 * np.eye(3, dtype=np.uint8)[classes]
    return images


@pytest.mark.parametrize(
    ("classes", "score", "shares"),
    [(np.arange(60) % 3, 3, (1 / 3, 1 / 3, 1 / 3)), (np.full(60, 2), 1, (0, 0, 1))],
)
def test_score_is_the_number_of_classes_that_are_certain_and_even(
    classes, score, shares
):
    values = measure_images(images_of_classes(classes), splits=4)
    assert values["classifier_score_mean"] == pytest.approx(score)
    assert values["classifier_score_std"] == pytest.approx(0, abs=1e-9)
    assert [values[f"classifier_share_{c}"] for c in range(3)] == list(shares)


def test_score_is_the_exponential_of_the_mean_divergence():
    images = np.random.default_rng(3).integers(0, 4, (64, 8, 8, 1), np.uint8)
    p = np.exp(images[:, 0, :3, 0].astype(float))
    p /= p.sum(axis=1, keepdims=True)
    divergences = [np.sum(row * np.log(row / p.mean(0))) for row in p]
    score = measure_images(images, splits=1)["classifier_score_mean"]
    assert score == pytest.approx(math.exp(np.mean(divergences)))
