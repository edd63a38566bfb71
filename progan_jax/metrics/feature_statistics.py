"""Mean and covariance of features, gathered as they come."""

import io
import zipfile
from pathlib import Path

import numpy as np

from progan_jax.errors import UserError
from progan_jax.files import write_whole
from progan_jax.metrics.inputs import check_features

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
