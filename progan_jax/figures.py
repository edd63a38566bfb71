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

from progan_jax.errors import MissingWeightsError, UserError
from progan_jax.image_sources import ImageSource, Reals
from progan_jax.inception_figures import InceptionFigures
from progan_jax.metrics import ms_ssim, swd
from progan_jax.metrics.classifier import (
    Classifier,
    classifier_score,
    read_classifier,
)
from progan_jax.metrics.modes import mode_counts
from progan_jax.metrics.patches import SMALLEST_LEVEL, Patches, draw_patches
from progan_jax.networks.progan import stage_resolutions
from progan_jax.protocols import PROTOCOLS, Counts, check_images, count_images
from progan_jax.runtime.logging import warn

_INCEPTION = ("fid", "sfid", "rfid", "kid", "is", "pr")


@dataclass(frozen=True)
class FigureOptions:
    """How figures are made; see `config.eval`.

    Attributes:
      metrics: Of PROTOCOLS.
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
          UserError: if the images do not serve a metric, or weights are missing,
            damaged or do not serve.
        """
        self._reals, self._options, self._batched = reals, options, batched
        for metric in options.metrics:
            there, name = reals.pyramid.num_images, reals.pyramid.name
            check_images(metric, options.num_images, there, reals.resolution, name)
        self._patches: dict[int, Patches] = {}
        self._warned: set[str] = set()
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
        if {"classifier", "modes"} & set(options.metrics):
            # Modes are read off the channels, by a classifier of another set.
            of = None if "modes" in options.metrics else reals.pyramid.fingerprint
            side = reals.resolution
            self._classifier = open_classifier(options.classifier, side, of)

    def counts(self, metric: str) -> Counts:
        """Returns how many images of each kind a metric takes."""
        there = self._reals.pyramid.num_images
        return count_images(metric, self._options.num_images, there)

    def names(self, metric: str) -> tuple[str, ...]:
        """Returns the names of a metric's figures, of which one may be the best's."""
        if metric in _INCEPTION:
            assert self._inception is not None, "opened if asked for"
            return self._inception.names(metric)
        if metric == "swd":
            levels = stage_resolutions(self._reals.resolution, SMALLEST_LEVEL)
            return (*map(_swd_name, levels[::-1]), "swd_average")
        return {
            "ms_ssim": ("ms_ssim",),
            "classifier": ("classifier_score_mean",),
            "modes": ("modes_found", "modes_kl"),
        }[metric]

    def settings(self, metric: str) -> dict[str, Any]:
        """Returns all that a figure depends on besides the images measured."""
        counts = self.counts(metric)
        settings = {
            "num_images": counts.fakes,
            "num_reals": counts.reals,
            **PROTOCOLS[metric].constants,
            "resolution": self._reals.resolution,
            "channels": self._reals.pyramid.channels,
            "mirror": self._reals.mirror,
            "seed": self._reals.seed,
            "data_set": self._reals.pyramid.name,
            "data_fingerprint": self._reals.pyramid.fingerprint,
        }
        if self._inception is not None and metric in _INCEPTION:
            settings |= self._inception.settings(metric)
        if self._classifier is not None and metric in ("classifier", "modes"):
            settings["classifier"] = str(self._classifier)
        return settings

    def measure(
        self, metric: str, source: ImageSource, num_images: int
    ) -> dict[str, float]:
        """Returns the figures of one metric by their names.

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
                values = self._measure(metric, source, num_images)
        except ValueError as error:
            raise UserError(
                f"config.eval.metrics: {metric} of {num_images:,} images "
                f"({self._reals.resolution}x{self._reals.resolution}): {error}; leave "
                f"{metric} out, or change config.eval.num_images"
            ) from error
        for message in {str(warning.message) for warning in caught} - self._warned:
            self._warned.add(message)
            warn(message)
        return values

    def _measure(
        self, metric: str, source: ImageSource, num_images: int
    ) -> dict[str, float]:
        if metric in _INCEPTION:
            assert self._inception is not None, "opened if asked for"
            return self._inception.measure(
                metric, source, num_images, self.counts(metric).reals
            )
        own: Mapping[str, Callable[[ImageSource, int], dict[str, float]]] = {
            "swd": self._swd,
            "ms_ssim": self._ms_ssim,
            "classifier": self._classify,
            "modes": self._count_modes,
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
        values = {_swd_name(r): value for r, value in levels.items()}
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

    def _count_modes(self, source: ImageSource, num_images: int) -> dict[str, float]:
        assert self._classifier is not None, "opened if asked for"
        evaluations = PROTOCOLS["modes"].constants["evaluations"]
        images = np.concatenate(list(source.chunks(num_images)))
        draws = np.split(images, evaluations)
        counts = mode_counts(self._classifier, draws.__getitem__, evaluations)
        return {
            "modes_found": counts.found,
            "modes_found_std": counts.found_std,
            "modes_kl": counts.kl,
            "modes_kl_std": counts.kl_std,
        }


def _swd_name(resolution: int) -> str:
    return f"swd_{resolution}"


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
