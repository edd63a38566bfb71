"""Inception Score: the score of a classifier's logits.

Source: Salimans et al. 2016, section 4. It has this name only for the logits of the
Inception graph; for any other classifier it is a classifier score.
"""

import numpy as np

from progan_jax.metrics.inputs import check_features
from progan_jax.metrics.metric import Measurement


def measure(images: Measurement) -> dict[str, float]:
    """Returns mean and standard deviation over the splits."""
    mean, std = score_from_logits(images.features(), **images.constants)
    name = "inception_score{suffix}"
    return {f"{name}_mean": mean, f"{name}_std": std}


def score_from_logits(logits: np.ndarray, splits: int = 10) -> tuple[float, float]:
    """Returns mean and standard deviation of the score over contiguous splits.

    The score is exp of the mean KL(p(y | x) || p(y)), p(y) the mean over the split: 1
    to the number of classes. The published protocol takes 50,000 images, 10 splits.

    Args:
      logits: Floating-point [n, classes], in random order: with images sorted by class,
        a split would have few classes.
      splits: Number of splits, of equal size.

    Raises:
      ValueError: if the logits have another form or are not finite, n is not divisible
        by the splits, or a split has fewer than two images.
    """
    logits = check_features(logits)
    n = len(logits)
    if n % splits or n < 2 * splits:
        raise ValueError(
            f"{n} images do not make {splits} equal splits of two or more; give a "
            f"multiple of {splits} from {2 * splits}"
        )
    scores = [_score(part) for part in np.split(logits.astype(np.float64), splits)]
    return float(np.mean(scores)), float(np.std(scores))


def _score(logits: np.ndarray) -> float:
    logits = logits - logits.max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))  # p(y | x)
    p = np.exp(log_p)
    mean_p = p.mean(axis=0)
    # A class that no image has adds nothing: 0 log 0 = 0.
    entropy = -np.sum(mean_p * np.log(np.where(mean_p > 0, mean_p, 1)))
    # Section 4: exp(E_x KL(p(y | x) || p(y))), the KL divergence as two entropies.
    return float(np.exp(np.mean(np.sum(p * log_p, axis=1)) + entropy))
