"""Frechet distance between Gaussians fitted to features: FID, sFID, rFID.

Source: Heusel et al. 2017. The three are one formula on different features. Statistics
of real images are kept in the user's cache.
"""

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from progan_jax.errors import warn
from progan_jax.files import write_whole
from progan_jax.metrics.inputs import check_features
from progan_jax.metrics.metric import Measurement
from progan_jax.weights.weight_files import cache_dir

_ROWS = 4096  # Images whose float64 features are copied at a time, to bound memory.


def measure(images: Measurement) -> dict[str, float]:
    """Returns the distance of a set's features to those of real images."""
    settings = images.settings
    key = {
        "dataset": f"{settings['data_fingerprint']} seed {images.seed}",
        "num_images": images.num_reals,
        "resolution": settings["resolution"],
        "mirror": settings["mirror"],
        "tap": settings["features"],
        "weights": settings["weights"],
        "resize": settings["resize"],
    }
    reals = cached_statistics(key, lambda: statistics_of(images.features_of_reals()))
    fakes = statistics_of(images.features())
    return {"{metric}{suffix}": frechet_distance(reals, fakes)}


@dataclass(frozen=True)
class FeatureStatistics:
    """Mean and covariance of features.

    Attributes:
      count: Number of images.
      mean: float64 [d].
      scatter: Sum of (x - mean)(x - mean)^T, float64 [d, d].
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @property
    def covariance(self) -> np.ndarray:
        """The unbiased covariance, float64 [d, d]."""
        return self.scatter / (self.count - 1)


def statistics_of(features: np.ndarray) -> FeatureStatistics:
    """Returns the statistics of features, in float64.

    Args:
      features: Floating-point [n, d], n from 2.

    Raises:
      ValueError: if there are fewer than two rows, or numbers that are not finite.
    """
    features = check_features(features)
    if len(features) < 2:
        raise ValueError(f"{len(features)} image(s) have no covariance; give 2 or more")
    mean = features.mean(axis=0, dtype=np.float64)
    scatter = np.zeros((len(mean), len(mean)))
    for start in range(0, len(features), _ROWS):
        centred = features[start : start + _ROWS] - mean
        scatter += centred.T @ centred
    return FeatureStatistics(len(features), mean, scatter)


def cached_statistics(
    key: Mapping[str, Any], compute: Callable[[], FeatureStatistics]
) -> FeatureStatistics:
    """Returns the statistics of real images, from the cache or else computed.

    A damaged file is replaced, with a warning. If the cache cannot be written, a
    warning says so.

    Args:
      key: Everything that the statistics depend on, as JSON.
      compute: Returns the statistics.
    """
    text = json.dumps(key, sort_keys=True)
    name = hashlib.sha256(text.encode()).hexdigest()[:32]
    path = cache_dir() / "statistics" / f"{name}.npz"
    if path.exists():
        try:
            return read_statistics(path, text)
        except Exception as error:  # Of zip files, of NumPy and of the system.
            warn(f"{path} cannot be read ({error}); its statistics are recomputed")
    statistics = compute()
    try:
        write_statistics(path, text, statistics)
    except OSError as error:
        warn(f"statistics of real images are not cached: {error}")
    return statistics


def write_statistics(path: Path, key: str, statistics: FeatureStatistics) -> None:
    """Writes an .npz file, with a key that `read_statistics` must be given."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        key=key,
        count=statistics.count,
        mean=statistics.mean,
        scatter=statistics.scatter,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, buffer.getvalue())


def read_statistics(path: Path, key: str) -> FeatureStatistics:
    """Reads a file of `write_statistics`.

    Raises:
      ValueError: if it was written under another key.
      Exception: of many kinds, if it is damaged.
    """
    with np.load(io.BytesIO(path.read_bytes())) as arrays:
        if str(arrays["key"]) != key:
            raise ValueError("it has statistics of other images or features")
        return FeatureStatistics(
            int(arrays["count"]), arrays["mean"], arrays["scatter"]
        )


def frechet_distance(reals: FeatureStatistics, fakes: FeatureStatistics) -> float:
    """Returns the Frechet distance of two Gaussians: Heusel et al. 2017, eq. 6.

    |m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)) of means and covariances. No constant is
    added to the covariances, as in the authors' program. Warns where a set has no more
    images than the features have dimensions: its covariance is singular and the value
    biased upwards, comparable with the same number of images only.
    """
    for name, statistics in (("real images", reals), ("fakes", fakes)):
        if statistics.count <= len(statistics.mean):
            _warn_of_bias(name, statistics.count, len(statistics.mean))
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


@cache  # Once for all snapshots of a command.
def _warn_of_bias(name: str, count: int, dimensions: int) -> None:
    warn(
        f"{count} {name} for {dimensions} features: the Frechet distance is biased "
        f"upwards; take more than {dimensions} images, or KID"
    )
