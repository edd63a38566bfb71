"""Modes of stacked MNIST: how many of 1,000, and how evenly they are hit.

An image is three digits, one in each channel, and its mode is the number that they
write, red first. `tools.train_classifier --architecture=digit` makes the classifier.

Source: Karras et al. 2018, table 4; 25,600 samples and ten evaluations are the
authors' program's.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from progan_jax.metrics.classifier import Classifier
from progan_jax.metrics.inputs import Measurement

NUM_MODES = 1000

_CHUNK = 2560  # Images whose channels are taken apart at a time, to bound memory.


@dataclass(frozen=True)
class ModeCounts:
    """Means and deviations over the evaluations.

    Attributes:
      found: Modes that occur, of 1,000.
      found_std: Population deviation over the evaluations.
      kl: KL divergence of the modes' distribution from the uniform one, in nats, from
        0 to ln 1000 = 6.91.
      kl_std: As `found_std`.
      evaluations: Number of them.
      samples: Images in each.
      classifier: Names the classifier.
    """

    found: float
    found_std: float
    kl: float
    kl_std: float
    evaluations: int
    samples: int
    classifier: str

    def __str__(self) -> str:
        """Returns the line that may stand in a table."""
        return (
            f"modes {self.found:.1f} +- {self.found_std:.1f} of {NUM_MODES}, "
            f"KL {self.kl:.3f} +- {self.kl_std:.3f} nats ({self.classifier})"
        )


def measure(images: Measurement) -> dict[str, float]:
    """Returns modes and divergence, each with its spread over the evaluations."""
    evaluations = images.constants["evaluations"]
    draws = np.split(np.concatenate(list(images.chunks())), evaluations)
    counts = mode_counts(images.classifier(), draws.__getitem__, evaluations)
    return {
        "modes_found": counts.found,
        "modes_found_std": counts.found_std,
        "modes_kl": counts.kl,
        "modes_kl_std": counts.kl_std,
    }


def mode_counts(
    classifier: Classifier,
    draw: Callable[[int], np.ndarray],
    evaluations: int = 10,
) -> ModeCounts:
    """Counts the modes of freshly drawn images, several times.

    Args:
      classifier: Of grey digits, ten classes.
      draw: Returns the images of an evaluation, numbered from 0: uint8 [n, r, r, 3],
        n = 25,600 as published, of the classifier's resolution.
      evaluations: Number of them.
    """
    draws = [image_modes(classifier, draw(number)) for number in range(evaluations)]
    found, kl = np.array([count_modes(modes) for modes in draws]).T
    return ModeCounts(
        found=float(found.mean()),
        found_std=float(found.std()),
        kl=float(kl.mean()),
        kl_std=float(kl.std()),
        evaluations=evaluations,
        samples=len(draws[0]),
        classifier=str(classifier),
    )


def image_modes(classifier: Classifier, images: np.ndarray) -> np.ndarray:
    """Returns the modes, int [n] in [0, 1000), of uint8 [n, r, r, 3].

    Raises:
      ValueError: if the images are not RGB, or the classifier is not of grey digits.
    """
    wanted = (classifier.info["num_classes"], classifier.info["channels"])
    if wanted != (10, 1):
        raise ValueError(
            f"the classifier has {wanted[0]} classes and {wanted[1]} channels; modes "
            "are counted by one of 10 classes and 1 channel"
        )
    if images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images are {list(images.shape)}; they must be [n, r, r, 3]")
    chunks = range(0, len(images), _CHUNK)
    digits = [_read_digits(classifier, images[i : i + _CHUNK]) for i in chunks]
    return np.concatenate(digits) @ np.array([100, 10, 1])


def count_modes(modes: np.ndarray) -> tuple[int, float]:
    """Returns the modes that occur and their KL divergence from uniform, in nats.

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
