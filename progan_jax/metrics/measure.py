"""Metrics of a set of images, each by its published protocol.

What depends on real images alone is computed once. A value's name has tap, resize mode
and truncation in it; all else that it depends on is in the settings.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax

from progan_jax.errors import MissingWeightsError, UserError
from progan_jax.images import SMALLEST_LEVEL
from progan_jax.metrics.attributes import Attributes, read_attributes
from progan_jax.metrics.classifier import Classifier, read_classifier
from progan_jax.metrics.features import FeatureSets
from progan_jax.metrics.image_sources import ImageSource, Reals
from progan_jax.metrics.lpips import load_lpips, lpips
from progan_jax.metrics.metric import PSI, TRUNCATION, Measurement
from progan_jax.metrics.protocols import METRICS, Counts, check_images, count_images
from progan_jax.metrics.separability import import_machine
from progan_jax.models.common import stage_resolutions
from progan_jax.weights.weight_files import Weights


@dataclass(frozen=True)
class MeasureOptions:
    """What is measured, and how; see `config.eval`.

    Attributes:
      metrics: Names in METRICS.
      num_images: Number of each kind; 0 takes the published number.
      tap: Tap of Inception, for the metrics without one of their own.
      resize: "tf1" or "clean".
      inception_weights: File; "" looks in the cache, then downloads.
      classifier: File without suffix of `tools.train_classifier`.
      lpips_weights: File of `tools.convert_lpips`; "" looks in the cache.
      attributes: Folder of classifiers of attributes; see `metrics.attributes`.
      vgg16_weights: torchvision's file, or its arrays as safetensors.
      dinov2_weights: timm's safetensors.
    """

    metrics: tuple[str, ...]
    num_images: int = 0
    tap: str = "2048"
    resize: str = "tf1"
    inception_weights: str = ""
    classifier: str = ""
    lpips_weights: str = ""
    attributes: str = ""
    vgg16_weights: str = ""
    dinov2_weights: str = ""


class Measurer:
    """Measures sets of images against real images."""

    def __init__(
        self,
        reals: Reals,
        options: MeasureOptions,
        sharding: jax.sharding.NamedSharding | None = None,
    ) -> None:
        """Checks numbers and sizes, and opens the weights.

        Args:
          reals: The real images.
          options: Which metrics, and how.
          sharding: Sharding of a batch axis; None for one device.

        Raises:
          UserError: if there are too few images or they are too small for a metric, or
            weights are missing or damaged, or of another network.
        """
        self._reals, self._options, self._sharding = reals, options, sharding
        for metric in options.metrics:
            there, name = reals.pyramid.num_images, reals.pyramid.name
            check_images(metric, options.num_images, there, reals.resolution, name)
        rows = {metric: METRICS[metric] for metric in options.metrics}
        self._features = FeatureSets(
            rows,
            reals,
            tap=options.tap,
            resize=options.resize,
            files={
                "inception": options.inception_weights,
                "vgg16": options.vgg16_weights,
                "dinov2": options.dinov2_weights,
            },
            sharding=sharding,
        )
        self._classifier: Classifier | None = None
        if any(row.extractor == "classifier" for row in rows.values()):
            # Modes are read from the channels, by a classifier of another set.
            of = None if "modes" in rows else reals.pyramid.fingerprint
            side = reals.resolution
            self._classifier = open_classifier(options.classifier, side, of)
        extractors = {row.extractor for row in rows.values()}
        self._lpips = None
        if "lpips" in extractors:
            self._lpips = open_lpips(options.lpips_weights)
        self._attributes: Attributes | None = None
        if "attributes" in extractors:
            self._attributes = open_attributes(options.attributes, reals)
            import_machine()
        self._kept: dict[str, dict[Any, Any]] = {metric: {} for metric in rows}

    def counts(self, metric: str) -> Counts:
        """Returns the numbers of images of each kind for a metric."""
        there = self._reals.pyramid.num_images
        return count_images(metric, self._options.num_images, there)

    def names(self, metric: str, psi: float = 1.0) -> tuple[str, ...]:
        """Returns the names of a metric's values by which one may be the best."""
        row, levels = METRICS[metric], list[int]()
        if row.by_level:
            levels = stage_resolutions(self._reals.resolution, SMALLEST_LEVEL)[::-1]
        patterns = (*(f"{{metric}}_{r}" for r in levels), *row.values)
        return tuple(self._name(pattern, metric, psi) for pattern in patterns)

    def settings(self, metric: str, psi: float = 1.0) -> dict[str, Any]:
        """Returns all that a value depends on besides the images measured."""
        counts, row, reals = self.counts(metric), METRICS[metric], self._reals
        settings = {
            "num_images": counts.fakes,
            "num_reals": counts.reals,
            **row.constants,
            "resolution": reals.resolution,
            "channels": reals.pyramid.channels,
            "mirror": reals.mirror,
            "seed": reals.seed,
            "data_set": reals.pyramid.name,
            "data_fingerprint": reals.pyramid.fingerprint,
            TRUNCATION: psi,
            **self._features.settings(metric),
        }
        if row.extractor == "classifier":
            settings["classifier"] = str(self._classifier)
        if row.extractor == "attributes":
            settings["attributes"] = str(self._attributes)
        if row.extractor == "lpips" and self._lpips is not None:
            settings["features"] = self._lpips.name
            settings["weights"] = self._lpips.fingerprint
        return settings

    def measure(
        self, metric: str, source: ImageSource, num_images: int, psi: float = 1.0
    ) -> dict[str, float]:
        """Returns the values of one metric by their names.

        Args:
          metric: One of those asked for.
          source: Images to measure.
          num_images: Number of them.
          psi: Truncation with which the images are made; 1 for none.

        Raises:
          UserError: if the metric cannot be measured with these images.
        """
        row = METRICS[metric]
        images = Measurement(
            source=source,
            num_images=num_images,
            reals=self._reals,
            num_reals=self.counts(metric).reals,
            constants=row.constants,
            settings=self.settings(metric, psi),
            sharding=self._sharding,
            extract=partial(self._features.extract, metric),
            classifier=self._classifier,
            kept=self._kept[metric],
            distance=lpips(self._lpips) if self._lpips else None,
            attributes=self._attributes,
        )
        try:
            values = row.measure(images)
        except ValueError as error:
            raise UserError(
                f"config.eval.metrics: {metric} of {num_images:,} images: {error}; "
                f"leave {metric} out, or change config.eval.num_images"
            ) from error
        return {self._name(name, metric, psi): value for name, value in values.items()}

    def _name(self, pattern: str, metric: str, psi: float) -> str:
        truncation = "" if psi == 1 else f"{PSI}{psi:g}"
        if "{suffix}" not in pattern:
            pattern += "{suffix}"
        suffix = self._features.suffix(metric) + truncation
        return pattern.format(metric=metric, suffix=suffix)


def open_lpips(name: str) -> Weights:
    """Reads weights of LPIPS.

    Args:
      name: As in `config.eval.lpips_weights`.

    Raises:
      MissingWeightsError: if none are named and the cache has none.
      UserError: if they are missing, damaged or of another network.
    """
    try:
        return load_lpips(Path(name) if name else None)
    except UserError as error:
        message = f"config.eval.lpips_weights = {name!r}: {error}"
        raise type(error)(message) from error


def open_attributes(name: str, reals: Reals) -> Attributes:
    """Reads classifiers of attributes.

    Args:
      name: As in `config.eval.attributes`.
      reals: The run's images, to whose side and channels they must fit.

    Raises:
      MissingWeightsError: if no folder is named.
      UserError: if there are none, one is damaged, or they take images of another form.
    """
    field = f"config.eval.attributes = {name!r}"
    try:
        attributes = read_attributes(name)
    except UserError as error:
        raise type(error)(f"{field}: {error}") from error
    side, channels = attributes.side, attributes.channels
    if reals.resolution % side or channels < reals.pyramid.channels:
        ours = f"{reals.resolution}x{reals.resolution}x{reals.pyramid.channels}"
        raise UserError(
            f"{field}: they take images of {side}x{side}x{channels}, which cannot be "
            f"made of {ours} by means over blocks; name others"
        )
    return attributes


def open_classifier(
    name: str, resolution: int, fingerprint: str | None = None
) -> Classifier:
    """Reads a classifier.

    Args:
      name: As in `config.eval.classifier`.
      resolution: Resolution of the images to classify.
      fingerprint: Fingerprint of the set it was trained on; None for any.

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
            f"config.eval.classifier = {name!r} takes images of {side}x{side}, and "
            f"config.model.resolution = {resolution}; name one of that resolution"
        )
    return classifier
