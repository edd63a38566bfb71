"""The figures of a set of images, each by its published protocol.

What belongs to the reals is made once. Nothing is computed otherwise than it is called:
a figure's name holds tap and resize mode, its settings hold all else.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from progan_jax.errors import UserError
from progan_jax.image_sources import ImageSource, Reals
from progan_jax.inception_figures import InceptionFigures
from progan_jax.metrics import ms_ssim, swd
from progan_jax.metrics.classifier import (
    Classifier,
    classifier_score,
    read_classifier,
)
from progan_jax.metrics.patches import Patches, draw_patches
from progan_jax.runtime.logging import warn

# Figures that may be asked for, with the images that the published protocol takes.
NUM_IMAGES = {
    "swd": swd.NUM_IMAGES,
    "ms_ssim": ms_ssim.NUM_IMAGES,
    "fid": 50_000,
    "sfid": 50_000,
    "rfid": 50_000,
    "kid": 50_000,
    "is": 50_000,
    "pr": 50_000,
    "classifier": 50_000,
}
_INCEPTION = ("fid", "sfid", "rfid", "kid", "is", "pr")


@dataclass(frozen=True)
class FigureOptions:
    """How figures are made; see `config.eval`.

    Attributes:
      metrics: Of NUM_IMAGES.
      num_images: Of each kind; 0 takes the published number.
      tap: Of Inception, for fid, rfid, kid and pr.
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


class Figures:
    """Measures sets of images against the reals."""

    def __init__(
        self,
        reals: Reals,
        options: FigureOptions,
        batched: jax.sharding.NamedSharding | None = None,
    ) -> None:
        """Opens weights, so that what is missing is known before any work.

        Args:
          reals: That the images are compared with.
          options: Which figures, and how.
          batched: Sharding of a batch axis over several devices; None for one.

        Raises:
          UserError: if weights are missing, damaged or do not serve.
        """
        self._reals, self._options, self._batched = reals, options, batched
        self._patches: dict[int, Patches] = {}
        self._inception: InceptionFigures | None = None
        self._classifier: Classifier | None = None
        if inception := [m for m in options.metrics if m in _INCEPTION]:
            self._inception = InceptionFigures(
                reals,
                inception,
                tap=options.tap,
                resize=options.resize,
                weights=options.inception_weights,
                batched=batched,
            )
        if "classifier" in options.metrics:
            path = Path(options.classifier)
            self._classifier = read_classifier(path, reals.pyramid.fingerprint)

    def num_images(self, metric: str) -> int:
        """Returns how many images of each kind a metric takes."""
        return self._options.num_images or NUM_IMAGES[metric]

    def settings(self, metric: str) -> dict[str, Any]:
        """Returns all that a figure depends on besides the images measured."""
        settings = {
            "num_images": self.num_images(metric),
            "resolution": self._reals.resolution,
            "mirror": self._reals.mirror,
            "seed": self._reals.seed,
            "data_set": self._reals.pyramid.name,
            "data_fingerprint": self._reals.pyramid.fingerprint,
        }
        if self._inception is not None and metric in _INCEPTION:
            settings |= self._inception.settings(metric)
        if self._classifier is not None and metric == "classifier":
            settings["classifier"] = str(self._classifier)
        return settings

    def measure(self, metric: str, source: ImageSource) -> dict[str, float]:
        """Returns the figures of one metric by their names.

        Raises:
          UserError: if the images do not serve, such as too few of them.
        """
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                values = self._measure(metric, source, self.num_images(metric))
        except ValueError as error:
            raise UserError(
                f"config.eval.metrics: {metric} of {self.num_images(metric):,} images "
                f"({self._reals.resolution}x{self._reals.resolution}): {error}"
            ) from error
        for message in dict.fromkeys(str(warning.message) for warning in caught):
            warn(message)
        return values

    def _measure(
        self, metric: str, source: ImageSource, num_images: int
    ) -> dict[str, float]:
        if metric in _INCEPTION:
            assert self._inception is not None, "opened if asked for"
            return self._inception.measure(metric, source, num_images)
        own: Mapping[str, Callable[[ImageSource, int], dict[str, float]]] = {
            "swd": self._swd,
            "ms_ssim": self._ms_ssim,
            "classifier": self._classify,
        }
        return own[metric](source, num_images)

    def _swd(self, source: ImageSource, num_images: int) -> dict[str, float]:
        seed = self._reals.seed

        def draw(images: ImageSource, number: int) -> dict[int, Patches]:
            chunks = images.chunks(num_images)
            return draw_patches(chunks, seed=seed, number=number, batched=self._batched)

        self._patches = self._patches or draw(self._reals, 0)
        levels = swd.distances(
            self._patches, draw(source, 1), seed=seed, batched=self._batched
        )
        values = {f"swd_{resolution}": value for resolution, value in levels.items()}
        return values | {"swd_average": swd.average(levels)}

    def _ms_ssim(self, source: ImageSource, num_images: int) -> dict[str, float]:
        figure = ms_ssim.ms_ssim(source.chunks(num_images), self._batched)
        return {"ms_ssim": figure}

    def _classify(self, source: ImageSource, num_images: int) -> dict[str, float]:
        assert self._classifier is not None, "opened if asked for"
        images = np.concatenate(list(source.chunks(num_images)))
        score = asdict(classifier_score(self._classifier, images))
        values = {f"classifier_score_{name}": score[name] for name in ("mean", "std")}
        shares = np.array(score["histogram"]) / num_images
        return values | {f"classifier_share_{c}": s for c, s in enumerate(shares)}
