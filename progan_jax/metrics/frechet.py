"""Frechet distance between Gaussians that are fitted to features: FID, sFID, rFID.

Source: Heusel et al. 2017. The three are one formula on different features, which the
extractor of the statistics names.
"""

import warnings

import numpy as np

from progan_jax.metrics.feature_statistics import FeatureStatistics, check_comparable


def frechet_distance(reals: FeatureStatistics, fakes: FeatureStatistics) -> float:
    """Returns |m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)) of means and covariances.

    No constant is added to the covariances, as in the authors' program. Warns where a
    set has no more images than the features have dimensions: its covariance is
    singular and the figure biased upwards, comparable with the same number only.

    Raises:
      ValueError: if the features differ in extractor or dimensions, or a set has fewer
        than two images.
    """
    check_comparable(reals, fakes)
    if reals.mean.shape != fakes.mean.shape:
        raise ValueError(
            f"features of {len(reals.mean)} and of {len(fakes.mean)} dimensions cannot "
            "be compared"
        )
    for name, statistics in (("reals", reals), ("fakes", fakes)):
        _warn_if_few(name, statistics)
    s1, s2 = reals.covariance, fakes.covariance
    distance = np.sum((reals.mean - fakes.mean) ** 2)
    distance += np.trace(s1) + np.trace(s2) - 2 * trace_of_root(s1, s2)
    return max(float(distance), 0.0)  # Rounding may leave -1e-12 of equal sets.


def trace_of_root(s1: np.ndarray, s2: np.ndarray) -> float:
    """Returns Tr (S1 S2)^(1/2) of two covariances, float64 [d, d].

    The product has the eigenvalues of R S2 R, R the symmetric root of S1, which is
    symmetric: they are real and not negative, also where the covariances are singular.
    `scipy.linalg.sqrtm` of the product, of which other programs take the real part,
    gives the same number to rounding, but may come with imaginary parts or fail there.
    """
    values, vectors = np.linalg.eigh(s1)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    eigenvalues = np.linalg.eigvalsh(root @ s2 @ root)
    return float(np.sum(np.sqrt(np.maximum(eigenvalues, 0))))


def _warn_if_few(name: str, statistics: FeatureStatistics) -> None:
    dimensions = len(statistics.mean)
    if statistics.count <= dimensions:
        warnings.warn(
            f"{statistics.count} {name} for {dimensions} features: the Frechet "
            f"distance is biased upwards; take more than {dimensions} images, or KID",
            stacklevel=3,
        )
