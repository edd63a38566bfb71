"""A metric's row in the table, and the images that its function measures."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding

from progan_jax.metrics.attributes import Attributes
from progan_jax.metrics.classifier import Classifier
from progan_jax.metrics.image_sources import ImageSource, Reals

TRUNCATION = "truncation_psi"  # A setting; records of earlier versions lack it.

PSI = "_psi"  # In names of values, before the truncation, unless that is 1.

_TRUNCATED = re.compile(rf"(.+){PSI}(-?[\d.]+)(.*)")


def split_truncation(value: str) -> tuple[str, float]:
    """Returns the name of a value without truncation, and the truncation."""
    match = _TRUNCATED.fullmatch(value)
    return (match[1] + match[3], float(match[2])) if match else (value, 1.0)


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
      measure: Returns the values of a set of images by their names, in which {metric}
        stands for the row's name, {suffix} for tap and resize mode.
      num_images: Number of fakes in the published protocol.
      values: "higher" or "lower", whichever is better, for each value by which a
        snapshot may be called the best.
      by_level: Whether there is a value for each level as well, METRIC_R.
      extractor: Origin of features: "inception", "random" (its graph with random
        weights), "vgg16", "dinov2", "classifier" (one of the user's), "attributes"
        (several of theirs), "lpips", or "" for pixels.
      tap: Tap of the extractor; "" is that of `config.eval.tap`.
      compared: Whether fakes are compared with real images; else a set is measured
        alone.
      space: "z" or "w" if latents of a generator are measured, which real images do
        not have; those of "w" need a mapping. "" for images.
      latents: Number of latents whose styles an image of the generator mixes.
      unit: What is counted.
      moves: Whether the input of the generator's synthesis is moved.
      equal: Whether there must be as many real images as fakes.
      most_reals: Number of real images in the published protocol, at most; 0 for as
        many as there are fakes.
      least: Smallest number of images of a kind.
      multiple: Divides the number of fakes.
      smallest_side: Smallest side of the images, in pixels.
      constants: What else a value depends on; arguments of the metric's function.
    """

    measure: "Callable[[Measurement], dict[str, float]]"
    num_images: int
    values: Mapping[str, str]
    by_level: bool = False
    extractor: str = ""
    tap: str = ""
    compared: bool = True
    space: str = ""
    latents: int = 1
    unit: str = "images"
    moves: bool = False
    equal: bool = False
    most_reals: int = 0
    least: int = 2
    multiple: int = 1
    smallest_side: int = 4
    constants: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """A set of images under one metric.

    Attributes:
      source: The images.
      num_images: Number of them that are measured.
      reals: The real images that they are compared with.
      num_reals: Number of those; 0 if a set is measured alone.
      constants: The metric's constants, from its row in the table.
      settings: All that a value depends on besides the images, by name.
      sharding: Sharding of a batch axis; None for one device.
      extract: Returns the features of a number of images at the metric's tap.
      classifier: The run's, for the metrics that need one.
      distance: LPIPS of float images in 0..255, likewise.
      attributes: Classifiers of attributes, likewise.
      kept: What the metric keeps of the real images for all sets; empty at first.
    """

    source: ImageSource
    num_images: int
    reals: Reals
    num_reals: int
    constants: Mapping[str, Any]
    settings: Mapping[str, Any]
    sharding: NamedSharding | None
    extract: Callable[[ImageSource, int], np.ndarray]
    classifier: Classifier | None
    kept: dict[Any, Any]
    distance: Callable[[jax.Array, jax.Array], jax.Array] | None = None
    attributes: Attributes | None = None

    @property
    def seed(self) -> int:
        """The run's, for what a metric draws."""
        return self.reals.seed

    def chunks(self) -> Iterator[np.ndarray]:
        """Yields the images, uint8 [n, r, r, 1 or 3] in each chunk."""
        return self.source.chunks(self.num_images)

    def chunks_of_reals(self) -> Iterator[np.ndarray]:
        """Yields the real images that they are compared with."""
        return self.reals.chunks(self.num_reals)

    def features(self) -> np.ndarray:
        """Returns the features of the images at the metric's tap, float32 [n, d]."""
        return self.extract(self.source, self.num_images)

    def features_of_reals(self) -> np.ndarray:
        """Returns those of the real images that they are compared with."""
        return self.extract(self.reals, self.num_reals)
