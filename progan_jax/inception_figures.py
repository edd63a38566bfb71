"""Figures by features of Inception: FID, sFID, rFID, KID, IS, precision and recall."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from progan_jax.errors import UserError
from progan_jax.image_sources import ImageSource, Reals
from progan_jax.metrics.cache import StatisticsKey, cached_statistics
from progan_jax.metrics.feature_statistics import FeatureStatistics
from progan_jax.metrics.frechet import frechet_distance
from progan_jax.metrics.inception import InceptionExtractor
from progan_jax.metrics.inception_layers import TAPS
from progan_jax.metrics.inception_score import score_from_logits
from progan_jax.metrics.inception_weights import (
    load_inception,
    random_inception,
    require_tap,
)
from progan_jax.metrics.kid import kid
from progan_jax.metrics.precision_recall import precision_recall
from progan_jax.metrics.weights import Weights

# Taps of figures that have one of their own.
_TAPS = {"sfid": "spatial", "is": "logits"}
_NAMES = {
    "fid": ("fid{}",),
    "sfid": ("sfid{}",),
    "rfid": ("rfid{}",),
    "kid": ("kid{}_mean", "kid{}_std"),
    "is": ("inception_score{}_mean", "inception_score{}_std"),
    "pr": ("precision{}", "recall{}"),
}
# Rows whose float64 copies are made at a time.
_ROWS = 4096
# The seed of rFID's weights is part of its definition, not of a run.
_RANDOM_SEED = 0


class InceptionFigures:
    """Measures sets of images by one extractor; the features of a set are made once."""

    def __init__(
        self,
        reals: Reals,
        metrics: Sequence[str],
        *,
        tap: str,
        resize: str,
        weights: str,
        batched: jax.sharding.NamedSharding | None,
    ) -> None:
        """Opens the weights.

        Args:
          reals: That the images are compared with.
          metrics: Of fid, sfid, rfid, kid, is and pr.
          tap: Of fid, rfid, kid and pr.
          resize: "tf1" or "clean".
          weights: File; "" looks in the cache, then downloads.
          batched: Sharding of a batch axis over several devices; None for one.

        Raises:
          UserError: if the weights are missing or damaged, or do not reach a tap.
        """
        self._reals, self._resize, self._batched = reals, resize, batched
        self._taps = {metric: _TAPS.get(metric, tap) for metric in metrics}
        trained = [t for m, t in self._taps.items() if m != "rfid"]
        if tap not in TAPS:
            raise UserError(
                f"config.eval.tap = {tap!r} must be one of {', '.join(TAPS)}; choose "
                "one"
            )
        if trained:
            self._weights = _load(weights)
            for metric in metrics:
                self._check_reach(metric)
        self._latest: tuple[ImageSource, dict[tuple[str, str, int], np.ndarray]]
        self._latest = reals, {}

    def settings(self, metric: str) -> dict[str, Any]:
        """Returns what a figure depends on besides the images."""
        features = self._extractor(metric).at(self._taps[metric])
        return {
            "features": features.name,
            "weights": features.fingerprint,
            "resize": features.resize,
        }

    def names(self, metric: str) -> tuple[str, ...]:
        """Returns the names of a metric's figures."""
        return tuple(name.format(self._suffix(metric)) for name in _NAMES[metric])

    def measure(
        self, metric: str, source: ImageSource, num_images: int, num_reals: int
    ) -> dict[str, float]:
        """Returns the figures of one metric by their names.

        Args:
          metric: One of those asked for.
          source: Of the images to measure.
          num_images: How many of them.
          num_reals: That they are compared with.
        """
        values = self._measure(metric, source, num_images, num_reals)
        return dict(zip(self.names(metric), values, strict=True))

    def _measure(
        self, metric: str, source: ImageSource, num_images: int, num_reals: int
    ) -> tuple[float, ...]:
        if metric in ("fid", "sfid", "rfid"):
            statistics = self._statistics(metric, source, num_images)
            reals = self._statistics_of_reals(metric, num_reals)
            return (frechet_distance(reals, statistics),)
        features = self._features(metric, source, num_images)
        if metric == "is":
            return score_from_logits(features)
        reals = self._features(metric, self._reals, num_reals)
        if metric == "kid":
            return kid(reals, features, seed=self._reals.seed)
        return precision_recall(reals, features)

    @cached_property
    def _trained(self) -> InceptionExtractor:
        return self._open(self._weights)

    @cached_property
    def _random(self) -> InceptionExtractor:
        return self._open(random_inception(_RANDOM_SEED))

    @cached_property
    def _kept(self) -> dict[tuple[str, str, int], np.ndarray]:
        """Features of the reals."""
        return {}

    def _check_reach(self, metric: str) -> None:
        if metric == "rfid":
            return
        try:
            require_tap(self._weights, self._taps[metric])
        except UserError as error:
            raise type(error)(f"config.eval.metrics: {metric}: {error}") from error

    def _open(self, weights: Any) -> InceptionExtractor:
        return InceptionExtractor(weights, resize=self._resize, sharding=self._batched)

    def _extractor(self, metric: str) -> InceptionExtractor:
        return self._random if metric == "rfid" else self._trained

    def _suffix(self, metric: str) -> str:
        """Returns what a figure's name says of tap and resize mode."""
        tap = self._taps[metric]
        of_tap = "" if metric in _TAPS or tap == "2048" else f"_{tap}"
        return of_tap + ("" if self._resize == "tf1" else f"_{self._resize}")

    def _features(
        self, metric: str, source: ImageSource, num_images: int
    ) -> np.ndarray:
        """Returns the features of a set, which are kept until another one comes."""
        if source is self._reals:
            return self._extract(metric, source, num_images, self._kept)
        if source is not self._latest[0]:
            self._latest = source, {}
        return self._extract(metric, source, num_images, self._latest[1])

    def _extract(
        self,
        metric: str,
        source: ImageSource,
        num_images: int,
        kept: dict[tuple[str, str, int], np.ndarray],
    ) -> np.ndarray:
        """Returns the features of one tap; those of all others are made with them."""
        extractor = self._extractor(metric)
        key = (_kind(metric), self._taps[metric], num_images)
        if key not in kept:
            same = {t for m, t in self._taps.items() if _kind(m) == key[0]}
            taps = tuple(sorted(same))
            parts = [extractor.extract(c, taps) for c in source.chunks(num_images)]
            for tap in taps:
                whole = np.concatenate([part[tap] for part in parts])
                kept[key[0], tap, num_images] = whole
        return kept[key]

    def _statistics(
        self, metric: str, source: ImageSource, num_images: int
    ) -> FeatureStatistics:
        features = self._extractor(metric).at(self._taps[metric])
        label = f"{features.name} {features.fingerprint} {features.resize}"
        statistics = FeatureStatistics(label)
        rows = self._features(metric, source, num_images)
        for start in range(0, len(rows), _ROWS):
            statistics.add(rows[start : start + _ROWS])
        return statistics

    def _statistics_of_reals(self, metric: str, num_images: int) -> FeatureStatistics:
        reals, features = self._reals, self._extractor(metric).at(self._taps[metric])
        key = StatisticsKey(
            dataset=f"{reals.pyramid.fingerprint} seed {reals.seed}",
            num_images=num_images,
            resolution=reals.resolution,
            mirror=reals.mirror,
            tap=features.name,
            weights=features.fingerprint,
            resize=features.resize,
        )
        return cached_statistics(
            key, lambda: self._statistics(metric, reals, num_images)
        )


def _load(file: str) -> Weights:
    try:
        return load_inception(Path(file) if file else None)
    except UserError as error:
        message = f"config.eval.inception_weights = {file!r}: {error}"
        raise type(error)(message) from error


def _kind(metric: str) -> str:
    return "random" if metric == "rfid" else "trained"
