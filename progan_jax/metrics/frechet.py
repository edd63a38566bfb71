"""Frechet distance between Gaussians fitted to features: FID, sFID, rFID.

Source: Heusel et al. 2017. The three are one formula on different features, which the
extractor of the statistics names. Means and covariances are gathered as features come;
those of real images are kept in the user's cache.
"""

import dataclasses
import hashlib
import io
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from progan_jax.errors import UserError
from progan_jax.files import write_whole
from progan_jax.metrics.inputs import Measurement, check_features
from progan_jax.weights.weight_files import cache_dir

# What NumPy and zipfile raise at files that are cut, altered or something else.
_DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    RuntimeError,
    zipfile.BadZipFile,
)


def measure(images: Measurement) -> dict[str, float]:
    """Returns the distance of a set's features to those of real images."""
    reals, fakes = images.statistics_of_reals(), images.statistics()
    return {"{metric}{suffix}": frechet_distance(reals, fakes)}


class FeatureStatistics:
    """Mean and covariance in float64 on the host, whatever chunks features come in.

    Source: Chan et al. 1979 for adding one part's sums of squares to another's.
    """

    def __init__(self, extractor: str):
        """Begins with no image.

        Args:
          extractor: What made the features: graph, tap, weights and resize mode. Only
            statistics of the same are merged and compared.
        """
        self.extractor = extractor
        self.count = 0
        self._mean = np.zeros(0)
        self._scatter = np.zeros((0, 0))  # Sum of (x - mean)(x - mean)^T.

    @property
    def mean(self) -> np.ndarray:
        """The mean, float64 [d]."""
        return self._mean

    @property
    def covariance(self) -> np.ndarray:
        """The unbiased covariance, float64 [d, d].

        Raises:
          ValueError: if there are fewer than two images.
        """
        if self.count < 2:
            raise ValueError(
                f"{self.count} image(s) have no covariance; give 2 or more"
            )
        return self._scatter / (self.count - 1)

    def add(self, features: np.ndarray) -> None:
        """Takes in more images.

        Args:
          features: Floating-point [n, d], d the same at every call.

        Raises:
          ValueError: if they have another form or are not finite.
        """
        features = check_features(features)
        if len(features):
            mean = features.mean(axis=0, dtype=np.float64)
            centred = features - mean
            self._take(len(features), mean, centred.T @ centred)

    def merge(self, other: "FeatureStatistics") -> None:
        """Takes in the images of others, as of another process.

        Raises:
          ValueError: if they come from another extractor.
        """
        check_comparable(self, other)
        if other.count:
            self._take(other.count, other._mean, other._scatter)

    def save(self, path: Path, key: str = "") -> None:
        """Writes an .npz file, whole or not at all.

        Args:
          path: Its folder is made where it is missing.
          key: Text that `load` must be given to read it again.
        """
        buffer = io.BytesIO()
        np.savez(
            buffer,
            key=key,
            extractor=self.extractor,
            count=self.count,
            mean=self._mean,
            scatter=self._scatter,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path, key: str = "") -> "FeatureStatistics":
        """Reads what `save` wrote.

        Raises:
          UserError: if the file is damaged or was saved under another key.
        """
        try:
            with np.load(io.BytesIO(path.read_bytes())) as arrays:
                found = str(arrays["key"])
                statistics = cls(str(arrays["extractor"]))
                statistics._take(
                    int(arrays["count"]), arrays["mean"], arrays["scatter"]
                )
        except _DAMAGE as error:
            raise UserError(
                f"{path} cannot be read as statistics of features ({error}); remove it"
            ) from error
        if found != key:
            raise UserError(f"{path} holds statistics of {found!r}, not of {key!r}")
        return statistics

    def _take(self, count: int, mean: np.ndarray, scatter: np.ndarray) -> None:
        if not self.count:
            self.count, self._mean, self._scatter = count, mean, scatter
            return
        if mean.shape != self._mean.shape:
            raise ValueError(
                f"features of {len(self._mean)} and of {len(mean)} dimensions are mixed"
            )
        total, gap = self.count + count, mean - self._mean
        between = np.outer(gap, gap) * (self.count * count / total)
        self._scatter = self._scatter + scatter + between
        self._mean = self._mean + gap * (count / total)
        self.count = total


def check_comparable(a: FeatureStatistics, b: FeatureStatistics) -> None:
    """Raises ValueError unless both come from the same extractor."""
    if a.extractor != b.extractor:
        raise ValueError(
            f"features of {a.extractor!r} and of {b.extractor!r} cannot be compared"
        )


@dataclasses.dataclass(frozen=True)
class StatisticsKey:
    """Everything that the statistics of a set of reals depend on."""

    dataset: str  # Fingerprint of the set's content, not only its name.
    num_images: int
    resolution: int
    mirror: bool
    tap: str
    weights: str  # Fingerprint of the extractor's weights.
    resize: str

    def __str__(self) -> str:
        """Returns the key as one line of JSON."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)


def cached_statistics(
    key: StatisticsKey, compute: Callable[[], FeatureStatistics]
) -> FeatureStatistics:
    """Returns the statistics of the reals, from the cache or else computed.

    A damaged file is warned of and written anew. Where the cache cannot be written, a
    warning says so and the statistics are returned all the same.
    """
    name = hashlib.sha256(str(key).encode()).hexdigest()[:32]
    path = cache_dir() / "statistics" / f"{name}.npz"
    if path.exists():
        try:
            return FeatureStatistics.load(path, str(key))
        except UserError as error:
            warnings.warn(f"{error}; computed anew", stacklevel=2)
    statistics = compute()
    try:
        statistics.save(path, str(key))
    except OSError as error:
        warnings.warn(f"statistics are not kept: {error}", stacklevel=2)
    return statistics


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
