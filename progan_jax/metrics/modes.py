"""Modes of stacked MNIST: how many of 1,000, and how evenly they are hit.

An image is three digits, one in each channel, and its mode is the number that they
write, red first. `tools.train_classifier --architecture=digit` trains the classifier.

Source: Karras et al. 2018, appendix E and table 4; 25,600 samples and ten evaluations
as in the authors' program.
"""

import numpy as np

from progan_jax.metrics.classifier import Classifier
from progan_jax.metrics.metric import Measurement

NUM_MODES = 1000

_CHUNK = 2560  # Images whose channels are split at a time, to bound memory.


def measure(images: Measurement) -> dict[str, float]:
    """Returns modes and divergence, each with its spread over the evaluations."""
    assert images.classifier is not None, "opened if asked for"
    modes = image_modes(images.classifier, np.concatenate(list(images.chunks())))
    draws = np.split(modes, images.constants["evaluations"])
    found, kl = np.array([count_modes(draw) for draw in draws]).T
    return {
        "modes_found": float(found.mean()),
        "modes_found_std": float(found.std()),  # Of the population.
        "modes_kl": float(kl.mean()),
        "modes_kl_std": float(kl.std()),
    }


def image_modes(classifier: Classifier, images: np.ndarray) -> np.ndarray:
    """Returns the modes, int [n] in [0, 1000), of uint8 [n, r, r, 3].

    Raises:
      ValueError: if the images are not RGB, or the classifier is not of grey digits.
    """
    wanted = (classifier.info["num_classes"], classifier.info["channels"])
    if wanted != (10, 1):
        raise ValueError(
            f"the classifier has {wanted[0]} classes and {wanted[1]} channels; modes "
            "need one of 10 classes and 1 channel"
        )
    if images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images are {list(images.shape)}; they must be [n, r, r, 3]")
    chunks = range(0, len(images), _CHUNK)
    digits = [_read_digits(classifier, images[i : i + _CHUNK]) for i in chunks]
    return np.concatenate(digits) @ np.array([100, 10, 1])


def count_modes(modes: np.ndarray) -> tuple[int, float]:
    """Returns the number of modes that occur, and the KL divergence in nats.

    The divergence is that of their distribution from the uniform one, the sum of
    p log(1000 p), from 0 to ln 1000 = 6.91.

    Args:
      modes: int [n] in [0, 1000).
    """
    share = np.bincount(modes, minlength=NUM_MODES) / len(modes)
    present = share[share > 0]
    return len(present), float(np.sum(present * np.log(present * NUM_MODES)))


def _read_digits(classifier: Classifier, images: np.ndarray) -> np.ndarray:
    """Returns int [n, 3], the digits of the three channels."""
    side = images.shape[1]
    grey = images.transpose(0, 3, 1, 2).reshape(-1, side, side, 1)
    return classifier.logits(grey).argmax(1).reshape(-1, 3)
