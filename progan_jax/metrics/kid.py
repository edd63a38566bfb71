"""Kernel Inception distance between two sets of features.

It is unbiased at any number of images.

Source: Binkowski et al. 2018, section 4.
"""

import numpy as np

from progan_jax.metrics.inputs import check_pair
from progan_jax.metrics.metric import Measurement


def measure(images: Measurement) -> dict[str, float]:
    """Returns mean and standard deviation over the subsets."""
    reals, fakes = images.features_of_reals(), images.features()
    mean, std = kid(reals, fakes, seed=images.seed, **images.constants)
    return {"kid{suffix}_mean": mean, "kid{suffix}_std": std}


def kid(
    reals: np.ndarray,
    fakes: np.ndarray,
    *,
    seed: int,
    subsets: int = 100,
    subset_size: int = 1000,
) -> tuple[float, float]:
    """Returns mean and standard deviation of the distance over random subsets.

    Each subset is drawn without replacement. Some programs and papers state the mean
    x 1e3; this one does not.

    Args:
      reals: Floating-point [n, d].
      fakes: Floating-point [m, d]; m may differ from n.
      seed: Seed for drawing the subsets.
      subsets: Number of subsets.
      subset_size: Number of images of each kind in a subset.

    Raises:
      ValueError: if the features have another form or are not finite, or a set has
        fewer images than a subset.
    """
    reals, fakes = check_pair(reals, fakes)
    if min(len(reals), len(fakes)) < subset_size:
        raise ValueError(
            f"{len(reals)} real images and {len(fakes)} fakes are fewer than the "
            f"{subset_size} of a subset"
        )
    rng = np.random.default_rng(seed)
    distances = []
    for _ in range(subsets):
        a = reals[rng.choice(len(reals), subset_size, replace=False)]
        b = fakes[rng.choice(len(fakes), subset_size, replace=False)]
        distances.append(squared_mmd(a, b))
    return float(np.mean(distances)), float(np.std(distances))


def squared_mmd(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the unbiased squared maximum mean discrepancy; it may be negative.

    In float64: it is a small difference of large means.

    Args:
      a: [m, d], m at least 2.
      b: [n, d], n at least 2.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    # Gretton et al. 2012, eq. 3.
    cross = _kernel(a, b).mean()
    return _mean_of_others(_kernel(a, a)) + _mean_of_others(_kernel(b, b)) - 2 * cross


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a @ b.T / a.shape[1] + 1) ** 3  # Binkowski et al. 2018, section 4.


def _mean_of_others(kernel: np.ndarray) -> float:
    """Returns the mean of [n, n] off its diagonal."""
    n = len(kernel)
    return (kernel.sum() - np.trace(kernel)) / (n * (n - 1))
