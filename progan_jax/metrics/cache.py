"""The user's cache: where it is, and the statistics of reals kept there."""

import dataclasses
import hashlib
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path

from progan_jax.errors import UserError
from progan_jax.files import user_cache
from progan_jax.metrics.feature_statistics import FeatureStatistics

CACHE_VARIABLE = "PROGAN_JAX_CACHE"


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


def cache_dir() -> Path:
    """Returns the user's folder for weights and statistics.

    PROGAN_JAX_CACHE names it, or else it lies in XDG_CACHE_HOME or in ~/.cache.
    """
    if own := os.environ.get(CACHE_VARIABLE):
        return Path(own).expanduser()
    return user_cache()


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
