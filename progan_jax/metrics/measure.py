"""Metrics of a set of images, each by its published protocol.

What depends on real images alone is computed once. No value is computed otherwise than
its name says: the name holds tap and resize mode, the settings hold all else.
"""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from progan_jax.errors import MissingWeightsError, UserError, warn
from progan_jax.images import SMALLEST_LEVEL
from progan_jax.metrics.classifier import Classifier, read_classifier
from progan_jax.metrics.frechet import (
    FeatureStatistics,
    StatisticsKey,
    cached_statistics,
)
from progan_jax.metrics.image_sources import ImageSource, Reals
from progan_jax.metrics.inception import InceptionExtractor
from progan_jax.metrics.inception_graph import TAPS
from progan_jax.metrics.inception_weights import (
    load_inception,
    random_inception,
    require_tap,
)
from progan_jax.metrics.protocols import METRICS, Counts, check_images, count_images
from progan_jax.metrics.swd import Patches, draw_patches
from progan_jax.models.common import stage_resolutions
from progan_jax.weights.weight_files import Weights

# Rows whose float64 copies are made at a time.
_ROWS = 4096

# The seed of rFID's weights is part of its definition, not of a run.
_RANDOM_SEED = 0


@dataclass(frozen=True)
class MeasureOptions:
    """What is measured, and how; see `config.eval`.

    Attributes:
      metrics: Of METRICS.
      num_images: Of each kind; 0 takes the published number.
      tap: Of Inception, for the metrics without one of their own.
      resize: "tf1" or "clean".
      inception_weights: File; "" looks in the cache, then downloads.
      classifier: File without suffix of `tools.train_classifier`.
    """

    metrics: tuple[str, ...]
    num_images: int = 0
    tap: str = "2048"
    resize: str = "tf1"
    inception_weights: str = ""
    classifier: str = ""


class Features:
    """Features of sets of images by Inception; those of a set are computed once."""

    def __init__(
        self,
        reals: Reals,
        options: MeasureOptions,
        batched: jax.sharding.NamedSharding | None,
    ) -> None:
        """Opens the weights, if a metric needs any.

        Raises:
          UserError: if the weights are missing or damaged, or do not reach a tap.
        """
        self._reals, self._options, self._batched = reals, options, batched
        rows = {metric: METRICS[metric] for metric in options.metrics}
        self._taps = {
            metric: row.tap or options.tap
            for metric, row in rows.items()
            if row.extractor in ("inception", "random")
        }
        if self._taps and options.tap not in TAPS:
            raise UserError(
                f"config.eval.tap = {options.tap!r} must be one of {', '.join(TAPS)}; "
                "choose one"
            )
        if trained := [m for m in self._taps if rows[m].extractor == "inception"]:
            self._weights = _load(options.inception_weights)
            for metric in trained:
                self._check_reach(metric)
        self._latest: tuple[ImageSource, dict[tuple[str, str, int], np.ndarray]]
        self._latest = reals, {}

    def settings(self, metric: str) -> dict[str, Any]:
        """Returns what features depend on besides the images; {} without any."""
        if metric not in self._taps:
            return {}
        features = self._extractor(metric).at(self._taps[metric])
        return {
            "features": features.name,
            "weights": features.fingerprint,
            "resize": features.resize,
        }

    def suffix(self, metric: str) -> str:
        """Returns what the names of a metric's values say of tap and resize mode."""
        if metric not in self._taps:
            return ""
        tap, resize = self._taps[metric], self._options.resize
        of_tap = "" if METRICS[metric].tap or tap == "2048" else f"_{tap}"
        return of_tap + ("" if resize == "tf1" else f"_{resize}")

    def of(self, metric: str, source: ImageSource, num_images: int) -> np.ndarray:
        """Returns the features of a set, which are kept until another one comes."""
        if source is self._reals:
            return self._extract(metric, source, num_images, self._kept)
        if source is not self._latest[0]:
            self._latest = source, {}
        return self._extract(metric, source, num_images, self._latest[1])

    def statistics(
        self, metric: str, source: ImageSource, num_images: int
    ) -> FeatureStatistics:
        """Returns mean and covariance of the features of a set."""
        features = self._extractor(metric).at(self._taps[metric])
        label = f"{features.name} {features.fingerprint} {features.resize}"
        statistics = FeatureStatistics(label)
        rows = self.of(metric, source, num_images)
        for start in range(0, len(rows), _ROWS):
            statistics.add(rows[start : start + _ROWS])
        return statistics

    def statistics_of_reals(self, metric: str, num_images: int) -> FeatureStatistics:
        """Returns those of the real images, from the user's cache if they are there."""
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
            key, lambda: self.statistics(metric, reals, num_images)
        )

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
        try:
            require_tap(self._weights, self._taps[metric])
        except UserError as error:
            raise type(error)(f"config.eval.metrics: {metric}: {error}") from error

    def _open(self, weights: Any) -> InceptionExtractor:
        resize = self._options.resize
        return InceptionExtractor(weights, resize=resize, sharding=self._batched)

    def _extractor(self, metric: str) -> InceptionExtractor:
        is_random = METRICS[metric].extractor == "random"
        return self._random if is_random else self._trained

    def _extract(
        self,
        metric: str,
        source: ImageSource,
        num_images: int,
        kept: dict[tuple[str, str, int], np.ndarray],
    ) -> np.ndarray:
        """Returns the features of one tap; those of all others are made with them."""
        kind = METRICS[metric].extractor
        key = (kind, self._taps[metric], num_images)
        if key not in kept:
            same = {t for m, t in self._taps.items() if METRICS[m].extractor == kind}
            extractor, taps = self._extractor(metric), tuple(sorted(same))
            parts = [extractor.extract(c, taps) for c in source.chunks(num_images)]
            for tap in taps:
                whole = np.concatenate([part[tap] for part in parts])
                kept[kind, tap, num_images] = whole
        return kept[key]


class Measurer:
    """Measures sets of images against the reals.

    Attributes:
      reals: The real images.
      features: Those of Inception, computed once for each set.
      classifier: The one that the run names, if a metric asks for one.
      patches_of_reals: By level, once they are drawn.
      batched: Sharding of a batch axis over several devices; None for one.
    """

    def __init__(
        self,
        reals: Reals,
        options: MeasureOptions,
        batched: jax.sharding.NamedSharding | None = None,
    ) -> None:
        """Opens weights, so that what is missing is known before any work.

        Args:
          reals: That the images are compared with.
          options: Which metrics, and how.
          batched: Sharding of a batch axis over several devices; None for one.

        Raises:
          UserError: if the images do not serve a metric, or weights are missing,
            damaged or do not serve.
        """
        self.reals, self._options = reals, options
        for metric in options.metrics:
            there, name = reals.pyramid.num_images, reals.pyramid.name
            check_images(metric, options.num_images, there, reals.resolution, name)
        self._warned: set[str] = set()
        self.batched = batched
        self.patches_of_reals: dict[int, Patches] = {}
        self.features = Features(reals, options, batched)
        self.classifier: Classifier | None = None
        if any(METRICS[m].extractor == "classifier" for m in options.metrics):
            # Modes are read off the channels, by a classifier of another set.
            of = None if "modes" in options.metrics else reals.pyramid.fingerprint
            side = reals.resolution
            self.classifier = open_classifier(options.classifier, side, of)

    def counts(self, metric: str) -> Counts:
        """Returns how many images of each kind a metric takes."""
        there = self.reals.pyramid.num_images
        return count_images(metric, self._options.num_images, there)

    def names(self, metric: str) -> tuple[str, ...]:
        """Returns the names of a metric's values by which one may be the best."""
        row, levels = METRICS[metric], list[int]()
        if row.by_level:
            levels = stage_resolutions(self.reals.resolution, SMALLEST_LEVEL)[::-1]
        named = (self._name(pattern, metric) for pattern in row.values)
        return (*(f"{metric}_{r}" for r in levels), *named)

    def settings(self, metric: str) -> dict[str, Any]:
        """Returns all that a value depends on besides the images measured."""
        counts = self.counts(metric)
        settings = {
            "num_images": counts.fakes,
            "num_reals": counts.reals,
            **METRICS[metric].constants,
            "resolution": self.reals.resolution,
            "channels": self.reals.pyramid.channels,
            "mirror": self.reals.mirror,
            "seed": self.reals.seed,
            "data_set": self.reals.pyramid.name,
            "data_fingerprint": self.reals.pyramid.fingerprint,
            **self.features.settings(metric),
        }
        if METRICS[metric].extractor == "classifier":
            settings["classifier"] = str(self.classifier)
        return settings

    def measure(
        self, metric: str, source: ImageSource, num_images: int
    ) -> dict[str, float]:
        """Returns the values of one metric by their names.

        Args:
          metric: One of those asked for.
          source: Of the images to measure.
          num_images: How many of them.

        Raises:
          UserError: if the images do not serve.
        """
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                images = _Images(self, metric, source, num_images)
                values = METRICS[metric].measure(images)
        except ValueError as error:
            raise UserError(
                f"config.eval.metrics: {metric} of {num_images:,} images "
                f"({self.reals.resolution}x{self.reals.resolution}): {error}; leave "
                f"{metric} out, or change config.eval.num_images"
            ) from error
        for message in {str(warning.message) for warning in caught} - self._warned:
            self._warned.add(message)
            warn(message)
        return {self._name(name, metric): value for name, value in values.items()}

    def _name(self, pattern: str, metric: str) -> str:
        return pattern.format(metric=metric, suffix=self.features.suffix(metric))


class _Images:
    """A set of images under one metric: see `inputs.Measurement`."""

    def __init__(
        self, measurer: Measurer, metric: str, source: ImageSource, num_images: int
    ) -> None:
        self._measurer, self._metric, self._source = measurer, metric, source
        self.num_images = num_images
        self.seed = measurer.reals.seed
        self.constants: Mapping[str, int] = METRICS[metric].constants
        self.sharding = measurer.batched

    def chunks(self) -> Iterable[np.ndarray]:
        return self._source.chunks(self.num_images)

    def features(self) -> np.ndarray:
        of = self._measurer.features.of
        return of(self._metric, self._source, self.num_images)

    def features_of_reals(self) -> np.ndarray:
        of = self._measurer.features.of
        return of(self._metric, self._measurer.reals, self._num_reals)

    def statistics(self) -> FeatureStatistics:
        features = self._measurer.features
        return features.statistics(self._metric, self._source, self.num_images)

    def statistics_of_reals(self) -> FeatureStatistics:
        features = self._measurer.features
        return features.statistics_of_reals(self._metric, self._num_reals)

    def patches(self) -> dict[int, Patches]:
        return self._draw(self.chunks(), 1)

    def patches_of_reals(self) -> dict[int, Patches]:
        kept = self._measurer.patches_of_reals
        if not kept:
            kept |= self._draw(self._measurer.reals.chunks(self.num_images), 0)
        return kept

    def classifier(self) -> Classifier:
        assert self._measurer.classifier is not None, "opened if asked for"
        return self._measurer.classifier

    @property
    def _num_reals(self) -> int:
        return self._measurer.counts(self._metric).reals

    def _draw(self, chunks: Iterable[np.ndarray], number: int) -> dict[int, Patches]:
        return draw_patches(
            chunks, seed=self.seed, number=number, batched=self.sharding
        )


def _load(file: str) -> Weights:
    try:
        return load_inception(Path(file) if file else None)
    except UserError as error:
        message = f"config.eval.inception_weights = {file!r}: {error}"
        raise type(error)(message) from error


def open_classifier(
    name: str, resolution: int, fingerprint: str | None = None
) -> Classifier:
    """Reads a classifier.

    Args:
      name: As `config.eval.classifier` has it.
      resolution: Of the images that it is to read.
      fingerprint: Of the set that it must be of; None for any.

    Raises:
      MissingWeightsError: if none is named.
      UserError: if it is missing, damaged or of other images.
    """
    if not name:
        raise MissingWeightsError(
            "config.eval.classifier = '': classifier and modes need a classifier; "
            "train one with python -m progan_jax.tools.train_classifier and name its "
            "--out"
        )
    try:
        classifier = read_classifier(Path(name), fingerprint)
    except UserError as error:
        raise UserError(f"config.eval.classifier = {name!r}: {error}") from error
    if (side := classifier.info["resolution"]) != resolution:
        raise UserError(
            f"config.eval.classifier = {name!r} reads images of {side}x{side}, and "
            f"config.model.resolution = {resolution}; name one of that resolution"
        )
    return classifier
