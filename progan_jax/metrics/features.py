"""Features of sets of images by networks, computed once for all metrics of a set."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from progan_jax.errors import UserError
from progan_jax.metrics import dinov2, vgg16
from progan_jax.metrics.extractor import Extractor
from progan_jax.metrics.image_sources import ImageSource, Reals
from progan_jax.metrics.inception import InceptionExtractor
from progan_jax.metrics.inception_graph import TAPS
from progan_jax.metrics.inception_weights import (
    load_inception,
    random_inception,
    require_tap,
)
from progan_jax.metrics.metric import Metric

# The seed of rFID's weights is part of its definition, not of a run.
_RANDOM_SEED = 0

_OF_INCEPTION = ("inception", "random")

# Networks with one tap, by the rows' name of their extractor.
_OTHERS = {"vgg16": vgg16.KIND, "dinov2": dinov2.KIND}


class FeatureSets:
    """Features of the real images, and of the latest other set."""

    def __init__(
        self,
        rows: Mapping[str, Metric],
        reals: Reals,
        *,
        tap: str,
        resize: str,
        files: Mapping[str, str],
        sharding: jax.sharding.NamedSharding | None,
    ) -> None:
        """Reads the weights, if a metric needs any.

        Args:
          rows: The metrics that are asked for.
          reals: The real images.
          tap: Tap of Inception for the metrics without one of their own.
          resize: Of images for Inception: "tf1" or "clean".
          files: The weights of "inception", "vgg16" and "dinov2"; "" for Inception's
            looks in the cache, then downloads.
          sharding: Sharding of a batch axis; None for one device.

        Raises:
          MissingWeightsError: if weights are not named and must be.
          UserError: if the weights are missing or damaged, or do not reach a tap.
        """
        self._rows = {
            metric: row
            for metric, row in rows.items()
            if row.extractor in (*_OF_INCEPTION, *_OTHERS)
        }
        kinds = {row.extractor for row in self._rows.values()}
        if kinds & set(_OF_INCEPTION) and tap not in TAPS:
            raise UserError(
                f"config.eval.tap = {tap!r} must be one of {', '.join(TAPS)}; "
                "choose one"
            )
        self._taps = {metric: row.tap or tap for metric, row in self._rows.items()}
        self._extractors: dict[str, InceptionExtractor | Extractor] = {}
        for metric, row in self._rows.items():
            kind = row.extractor
            field = "inception" if kind in _OF_INCEPTION else kind
            file = files[field]
            try:
                if kind not in self._extractors:
                    self._extractors[kind] = _open(kind, file, resize, sharding)
                if kind in _OF_INCEPTION:
                    require_tap(self._extractors[kind].weights, self._taps[metric])
            except UserError as error:
                message = f"config.eval.{field}_weights = {file!r}: {error}"
                raise type(error)(message) from error
        self._resize = resize
        # By extractor and number of images, then by tap.
        self._of_reals: dict[tuple[str, int], dict[str, np.ndarray]] = {}
        self._of_latest = dict(self._of_reals)
        self._reals = self._latest = reals

    def settings(self, metric: str) -> dict[str, Any]:
        """Returns what features depend on besides the images; {} without any."""
        if metric not in self._rows:
            return {}
        kind = self._rows[metric].extractor
        weights = self._extractors[kind].weights
        return {
            "features": f"{weights.name}/{self._taps[metric]}",
            "weights": weights.fingerprint,
            "resize": _OTHERS[kind].resize if kind in _OTHERS else self._resize,
        }

    def suffix(self, metric: str) -> str:
        """Returns how the names of a metric's values show tap and resize mode.

        Those of networks that have one of each do not.
        """
        if metric not in self._rows or self._rows[metric].extractor in _OTHERS:
            return ""
        tap = self._taps[metric]
        of_tap = "" if self._rows[metric].tap or tap == "2048" else f"_{tap}"
        return of_tap + ("" if self._resize == "tf1" else f"_{self._resize}")

    def extract(self, metric: str, source: ImageSource, num_images: int) -> np.ndarray:
        """Returns the features of a set, [n, d], which are kept until another comes.

        All taps of an extractor are computed in one pass.
        """
        if source is not self._reals and source is not self._latest:
            self._latest, self._of_latest = source, {}
        kept = self._of_reals if source is self._reals else self._of_latest
        kind = self._rows[metric].extractor
        if (kind, num_images) not in kept:
            taps = {t for m, t in self._taps.items() if self._rows[m].extractor == kind}
            parts = [
                self._extractors[kind].extract(chunk, tuple(sorted(taps)))
                for chunk in source.chunks(num_images)
            ]
            kept[kind, num_images] = {
                tap: np.concatenate([part[tap] for part in parts]) for tap in taps
            }
        return kept[kind, num_images][self._taps[metric]]


def _open(
    kind: str, file: str, resize: str, sharding: jax.sharding.NamedSharding | None
) -> InceptionExtractor | Extractor:
    if kind in _OTHERS:
        return Extractor(_OTHERS[kind], file, sharding)
    weights = (
        random_inception(_RANDOM_SEED)
        if kind == "random"
        else load_inception(Path(file) if file else None)
    )
    return InceptionExtractor(weights, resize=resize, sharding=sharding)
