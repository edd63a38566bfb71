"""What a run tells at the end of a tick: scalars, grids, snapshots and the SWD.

Names of the scalars follow the authors' program; Health/* are ours.
"""

import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

from progan_jax.config import make_networks, parse_grid
from progan_jax.costs import multiply_adds
from progan_jax.data.index_stream import IndexStream
from progan_jax.data.pyramid import Pyramid
from progan_jax.images import grid_shape, tile, upscale_nearest, write_png
from progan_jax.metrics.swd import swd
from progan_jax.networks.progan import Generator
from progan_jax.remaining import RemainingTime
from progan_jax.runtime.logging import STAGE_SWD, peak_memory_mib
from progan_jax.runtime.snapshot import moment_name, write_snapshot
from progan_jax.sampling import Sampler, draw_latents
from progan_jax.schedule import Phase, Schedule
from progan_jax.state import Params

# Purposes of the run's key outside of the training steps, whose keys come from another
# branch of it.
_GRID_KEY, _SWD_KEY = 1, 2


class Reporter:
    """Measures and draws what a run shows.

    Attributes:
      total_sec: Wall time of the run so far, over all its restarts.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        schedule: Schedule,
        pyramid: Pyramid,
        workdir: Path,
        total_sec: float,
        origin: Mapping[str, Any],
    ) -> None:
        self.total_sec, self._origin = total_sec, origin
        self._config, self._schedule = config, schedule
        self._seed: Any = config.seed
        self._pyramid, self._workdir = pyramid, workdir
        self._columns, rows = self._grid_shape()
        self._grid_indices = self._choose_reals(self._columns, rows)
        self._grid_latents = self._latents(_GRID_KEY, self._columns * rows)
        self._tick_started = time.perf_counter()
        self._maintenance_started = self._tick_started

    def tick(
        self, sums: Mapping[str, jax.Array], nimg: int, shown: int, phase: Phase
    ) -> dict[str, float]:
        """Returns the row of a tick.

        Args:
          sums: The state's, since the last tick.
          nimg: Images shown at its end.
          shown: Images shown in this tick by this process.
          phase: What held for the last image.
        """
        totals = {name: float(value) for name, value in jax.device_get(sums).items()}
        now = time.perf_counter()
        sec = now - self._tick_started
        maintenance = self._tick_started - self._maintenance_started
        self.total_sec += now - self._maintenance_started
        self._maintenance_started = now
        self._remaining.add(phase.resolution, shown, sec)
        return {
            **self._progress(nimg, phase),
            "Timing/sec_per_tick": sec,
            "Timing/sec_per_kimg": sec / shown * 1000,
            "Timing/img_per_sec": shown / sec,
            "Timing/maintenance_sec": maintenance,
            "Timing/total_sec": self.total_sec,
            "Timing/total_hours": self.total_sec / 3600,
            "Timing/total_days": self.total_sec / 86400,
            "Timing/eta_sec": self._remaining.after(nimg),
            "Memory/peak_mib": peak_memory_mib(),
            **_scalars(totals),
            "TrainG/learning_rate": phase.g_learning_rate,
            "TrainD/learning_rate": phase.d_learning_rate,
        }

    def start_tick(self) -> None:
        """Marks the end of the maintenance after a tick."""
        self._tick_started = time.perf_counter()

    def draw_reals(self) -> None:
        """Writes grids/reals.png, at the final resolution."""
        reals = self._pyramid.levels[self._config.model.resolution][self._grid_indices]
        self._write_grid("reals.png", reals)

    def draw_fakes(
        self, sampler: Sampler, ema: Params, nimg: int, phase: Phase
    ) -> np.ndarray:
        """Writes and returns the grid of the fixed latents, upsampled to final size."""
        labels = self._pyramid.labels
        fakes = sampler.sample(
            ema,
            phase.alpha,
            self._grid_latents,
            labels[self._grid_indices] if labels is not None else None,
        )
        name = f"fakes_{moment_name(nimg, phase.resolution)}.png"
        return self._write_grid(name, self._upscale(fakes))

    def measure_swd(
        self, sampler: Sampler, ema: Params, phase: Phase
    ) -> dict[str, float]:
        """Returns the SWD x 1e3 of samples, upsampled, against reals at final size."""
        num = min(self._config.eval.stage_swd_images, self._pyramid.num_images)
        stream = IndexStream(self._seed, self._pyramid.num_images, mirror=False)
        indices, _ = stream.take(0, num)
        labels = self._pyramid.labels
        fakes = sampler.sample(
            ema,
            phase.alpha,
            self._latents(_SWD_KEY, num),
            labels[indices] if labels is not None else None,
        )
        reals = self._pyramid.levels[self._config.model.resolution][indices]
        levels = swd(reals, self._upscale(fakes), seed=self._seed)
        row = {f"{STAGE_SWD}{side}": value for side, value in levels.items()}
        return row | {f"{STAGE_SWD}average": float(np.mean(list(levels.values())))}

    def write_snapshot(
        self,
        generator: Generator,
        ema: Params,
        nimg: int,
        phase: Phase,
        trained: Mapping[str, Params] | None = None,
    ) -> Path:
        """Writes the averaged generator for use and returns its folder.

        Networks in training, "G" and "D", are carried where they are given.
        """
        name = moment_name(nimg, phase.resolution)
        folder = self._workdir / "snapshots" / name
        info = {
            "architecture": self._config.model.topology,
            "resolution": generator.resolution,
            "alpha": phase.alpha,
            "nimg": nimg,
            "model": self._config.model.to_dict(),
            "config": self._config.to_dict(),
            "dataset": {
                "name": self._pyramid.name,
                "num_images": self._pyramid.num_images,
                "num_classes": self._pyramid.num_classes,
                "class_names": list(self._pyramid.class_names),
                "fingerprint": self._pyramid.fingerprint,
            },
            **self._origin,
        }
        write_snapshot(folder, jax.device_get(ema), info, jax.device_get(trained))
        return folder

    def _progress(self, nimg: int, phase: Phase) -> dict[str, float]:
        return {
            "Progress/tick": self._schedule.ticks_until(nimg),
            "Progress/kimg": nimg / 1000,
            "Progress/nimg": nimg,
            "Progress/lod": phase.lod,
            "Progress/minibatch": phase.batch_size,
            "Progress/resolution": phase.resolution,
            "Progress/alpha": phase.alpha,
        }

    @cached_property
    def _remaining(self) -> RemainingTime:
        sides = [stage.resolution for stage in self._schedule.stages()]
        networks = {side: make_networks(self._config, side, 1) for side in sides}
        costs = {side: multiply_adds(g) for side, (g, _) in networks.items()}
        return RemainingTime(self._schedule, costs)

    def _grid_shape(self) -> tuple[int, int]:
        grid, resolution = self._config.train.grid, self._config.model.resolution
        return parse_grid(grid) or grid_shape(resolution, grid)

    def _choose_reals(self, columns: int, rows: int) -> np.ndarray:
        """Returns the indices of the grid's reals, whose classes its fakes have."""
        num_images, labels = self._pyramid.num_images, self._pyramid.labels
        stream = IndexStream(self._seed, num_images, mirror=False)
        if labels is None or not self._config.train.grid_by_class:
            return stream.take(0, columns * rows)[0]
        epoch, _ = stream.take(0, num_images)
        return rows_by_class(epoch, labels, columns, rows)

    def _latents(self, purpose: int, num: int) -> np.ndarray:
        key = jax.random.fold_in(jax.random.key(self._seed), purpose)
        return draw_latents(key, num, self._config.model.latent_size)

    def _upscale(self, images: np.ndarray) -> np.ndarray:
        return upscale_nearest(images, self._config.model.resolution // images.shape[1])

    def _write_grid(self, name: str, images: np.ndarray) -> np.ndarray:
        grid = tile(images, self._columns)
        write_png(self._workdir / "grids" / name, grid)
        return grid


def rows_by_class(
    order: np.ndarray, labels: np.ndarray, columns: int, rows: int
) -> np.ndarray:
    """Chooses images so that each row of a grid shows one class.

    Args:
      order: Indices of all images, in the order in which a class shows them.
      labels: Classes int [n].
      columns: Of the grid.
      rows: Of the grid; more rows than classes show the next images of each, and a
        class of few images shows them again.

    Returns:
      Indices int [rows * columns].
    """
    classes = np.unique(labels)
    chosen = []
    for row in range(rows):
        turn, place = divmod(row, len(classes))
        of_class = order[labels[order] == classes[place]]
        positions = np.arange(turn * columns, (turn + 1) * columns)
        chosen.append(of_class[positions % len(of_class)])
    return np.concatenate(chosen)


def _scalars(totals: Mapping[str, float]) -> dict[str, float]:
    """Turns the sums of a tick into means, by the names of the authors' program."""
    row = {}
    for name, total in totals.items():
        if name.endswith(("_steps", "_skipped")):
            continue
        steps = totals["g_steps" if name == "g_loss" else "d_steps"]
        group = "Health" if name.startswith(("stddev", "noise")) else "Loss"
        row[f"{group}/{name}"] = total / steps if steps else float("nan")
    for network in "GD":
        steps = totals[f"{network.lower()}_steps"]
        skipped = totals[f"{network.lower()}_skipped"]
        row[f"Train{network}/overflow_frequency"] = skipped / max(steps + skipped, 1)
    row["Health/score_gap"] = row["Loss/real_scores"] - row["Loss/fake_scores"]
    row["Health/skipped"] = int(totals["d_skipped"] + totals["g_skipped"])
    return row
