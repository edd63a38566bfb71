"""Classifier score: the formula of the Inception Score with the user's classifier.

Values are comparable only under the same classifier, and never with published Inception
Scores.
"""

import numpy as np

from progan_jax.metrics.inception_score import score_from_logits
from progan_jax.metrics.metric import Measurement


def measure(images: Measurement) -> dict[str, float]:
    """Returns the score over the splits, and the share of each class."""
    assert images.classifier is not None, "opened if asked for"
    logits = images.classifier.logits(np.concatenate(list(images.chunks())))
    mean, std = score_from_logits(logits, **images.constants)
    counts = np.bincount(logits.argmax(1), minlength=logits.shape[1])
    return {
        "classifier_score_mean": mean,
        "classifier_score_std": std,
        **{f"classifier_share_{c}": n / len(logits) for c, n in enumerate(counts)},
    }
