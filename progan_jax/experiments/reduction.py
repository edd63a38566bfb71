"""What makes a recipe fit a small machine; every change stands in a table's heading."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import ml_collections

from progan_jax.config import make_schedule, parse_table
from progan_jax.errors import UserError
from progan_jax.protocols import PROTOCOLS

# Fewest images by which a shortened run is measured.
_LEAST_IMAGES = 512
# A shortened run has so many ticks; every tenth has a grid, snapshot and checkpoint, or
# fewer have grids and snapshots, so that they are one kimg apart.
_TICKS, _TICKS_OF_SNAPSHOTS = 100, 10


@dataclass(frozen=True)
class Reduction:
    """How much less than the paper's recipe is trained.

    Attributes:
      scale: Factor of the run's length, both phases' and the learning rates' rise, and
        of the numbers of images that measure it; 1 is the recipe.
      max_resolution: Largest resolution; None leaves the recipe's.
      fmap_max: Most feature maps of a layer; None leaves the recipe's.
    """

    scale: float = 1.0
    max_resolution: int | None = None
    fmap_max: int | None = None

    def apply(self, config: ml_collections.ConfigDict) -> None:
        """Changes a recipe.

        Raises:
          UserError: if its last resolution would never be held at this scale.
        """
        model: Any = config.model
        schedule: Any = config.schedule
        if self.max_resolution and self.max_resolution < model.resolution:
            model.resolution = self.max_resolution
            start = min(schedule.start_resolution, self.max_resolution)
            schedule.start_resolution = start
        if self.fmap_max:
            model.fmap_max = min(model.fmap_max, self.fmap_max)
        if self.scale != 1:
            self._shorten(config)
        self._check_held(config)

    def num_images(self, metric: str) -> int:
        """Returns `eval.num_images` for a metric; 0 is the published number."""
        if self.scale >= 1:
            return 0
        protocol = PROTOCOLS[metric]
        wanted = max(_LEAST_IMAGES, protocol.least, protocol.num_images * self.scale)
        return -(-int(wanted) // protocol.multiple) * protocol.multiple

    def changes(self) -> Iterator[str]:
        """Yields what is other than in the recipe, in words."""
        if self.scale != 1:
            yield f"{self.scale:g} times the images of the recipe, in training"
        if 0 < self.scale < 1:
            yield f"and in metrics, {_LEAST_IMAGES} at least"
        if self.max_resolution:
            yield f"{self.max_resolution}x{self.max_resolution} at most"
        if self.fmap_max:
            yield f"{self.fmap_max} feature maps at most"

    def to_json(self) -> dict[str, float | int | None]:
        """Returns the record of it."""
        return asdict(self)

    def _shorten(self, config: ml_collections.ConfigDict) -> None:
        schedule: Any = config.schedule
        train: Any = config.train
        schedule.total_kimg *= self.scale
        schedule.rampup_kimg *= self.scale
        for name in ("stabilise_kimg", "fade_kimg"):
            table = parse_table(schedule[name], f"schedule.{name}")
            schedule[name] = _format_table(
                {r: k * self.scale for r, k in table.items()}
            )
        tick_kimg = schedule.total_kimg / _TICKS
        train.tick_kimg = f"{tick_kimg:g}"
        # Names of grids and snapshots tell whole kimg: one takes another's place.
        apart = max(_TICKS_OF_SNAPSHOTS, math.ceil(1 / tick_kimg))
        train.grid_ticks = train.snapshot_ticks = apart
        train.checkpoint_ticks = _TICKS_OF_SNAPSHOTS

    def _check_held(self, config: ml_collections.ConfigDict) -> None:
        schedule = make_schedule(config)
        full = schedule.kimg_to_full_resolution()
        batch = schedule.pair_nimg(config.model.resolution) / 1000
        if full is None or full + batch > config.schedule.total_kimg:
            side = config.model.resolution
            raise UserError(
                f"--scale={self.scale:g}: {side}x{side} would never be held, for it "
                f"has faded in after {full or 0:g} of "
                f"{config.schedule.total_kimg:g} kimg; raise --scale, or lower "
                "--max_resolution"
            )


def _format_table(table: dict[int, float]) -> str:
    """Returns a table by resolution as configs/base.py writes it."""
    (_, first), *others = table.items()
    return ", ".join([f"{first:g}", *(f"{r}:{k:g}" for r, k in others if k != first)])
