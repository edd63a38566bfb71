"""What a run writes and prints, all of it by its primary process.

At the end of a tick: scalars, grids, snapshots and the sliced Wasserstein distance.
Names of the scalars follow the authors' program; Health/* are ours.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

from progan_jax.data.index_stream import IndexStream
from progan_jax.data.pyramid import Pyramid
from progan_jax.display.page import try_to_write_report
from progan_jax.display.pictures import list_grids
from progan_jax.errors import warn
from progan_jax.evaluate import Evaluation
from progan_jax.images import grid_shape, tile, upscale_nearest, write_png
from progan_jax.inference.sampling import Sampler, draw_latents
from progan_jax.inference.snapshot import moment_name, write_snapshot
from progan_jax.metrics.image_sources import describe_set
from progan_jax.metrics.swd import swd
from progan_jax.models.common import Params
from progan_jax.runtime.logging import (
    STAGE_SWD,
    ProgressBar,
    RunLog,
    format_swd,
    format_tick,
    peak_memory_mib,
)
from progan_jax.runtime.mesh import local
from progan_jax.training.config import make_networks, model_options, parse_grid
from progan_jax.training.costs import multiply_adds
from progan_jax.training.remaining import RemainingTime
from progan_jax.training.schedule import Phase, Schedule, is_due
from progan_jax.training.stage import StageProgram
from progan_jax.training.state import TrainState
from progan_jax.training.workdir import RunFolder

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
        generator: Any,
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
            "family": self._config.family,
            "options": asdict(model_options(self._config)),
            "stage": {
                "resolution": generator.resolution,
                "alpha": phase.alpha,
                "nimg": nimg,
            },
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


class Record:
    """The rows, grids, snapshots and lines of a run.

    Attributes:
      folder: The run's.
      bar: Shows how far the run has come, and prints lines.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        schedule: Schedule,
        folder: RunFolder,
        mesh: jax.sharding.Mesh,
        pyramid: Pyramid,
        nimg: int,
        total_sec: float,
        origin: Mapping[str, Any],
    ) -> None:
        """Opens the log, and cuts off what comes after the point to go on from.

        Args:
          config: The run's.
          schedule: The run's.
          folder: The run's.
          mesh: Of all processes.
          pyramid: The image set.
          nimg: Images shown so far.
          total_sec: Wall time so far.
          origin: What snapshots are to tell of the networks that the run started from.

        Raises:
          UserError: if what is to be measured is at fault.
          OSError: if the folder is.
        """
        self.folder, workdir = folder, folder.path
        self._config, self._schedule, self._workdir = config, schedule, workdir
        self._mesh, self._pyramid = mesh, pyramid
        self._reporter = Reporter(config, schedule, pyramid, workdir, total_sec, origin)
        self._evaluation: Evaluation | None = None
        if config.eval.every_kimg:
            self._evaluation = Evaluation(config, workdir, pyramid, mesh)
        # Not that of the tick that the old end of a run cut short that is longer now.
        self._log = RunLog(
            workdir,
            lambda n: n <= nimg and schedule.is_tick_end(n),
            expected=schedule.ticks_until(nimg),
        )
        self.bar = ProgressBar(schedule.end_nimg(), nimg)

    @property
    def total_sec(self) -> float:
        """Wall time of the run so far, over all its restarts."""
        return self._reporter.total_sec

    def greet(self, nimg: int) -> None:
        """Tells what is trained on what, and from where on."""
        devices, end = self._mesh.devices.flatten(), self._schedule.end_nimg()
        verb = "goes on from" if nimg else "starts at"
        hosts = jax.process_count()
        among = f" of {hosts} processes" if hosts > 1 else ""
        self.bar.print(describe_set(self._config, self._pyramid))
        self.bar.print(
            f"{self._workdir}: {len(devices)} x {devices[0].device_kind}{among}; "
            f"{verb} {nimg / 1000:.1f} of {end / 1000:.1f} kimg"
        )
        self._tell_dropped(nimg)

    def start_tick(self) -> None:
        """Times the tick from here on."""
        self._reporter.start_tick()

    def draw_start(self, program: StageProgram, state: TrainState) -> None:
        """Draws the reals, and the fakes of a generator that has seen none."""
        self._reporter.draw_reals()
        self._draw_fakes(program, local(state.g_ema), 0)

    def end_tick(
        self, program: StageProgram, state: TrainState, nimg: int, shown: int
    ) -> None:
        """Measures, reports and draws what is due at the end of a tick.

        Args:
          program: Of the stage.
          state: With the sums of the tick.
          nimg: Images shown.
          shown: Images shown in this tick since the program was started.
        """
        train, schedule = self._config.train, self._schedule
        tick, phase = schedule.ticks_until(nimg), schedule.phase_at(nimg - 1)
        ema = local(state.g_ema)
        row = self._reporter.tick(state.sums, nimg, shown, phase)
        stage_ends = schedule.is_stage_end(nimg)
        measures_stage = stage_ends and self._config.eval.stage_swd_images
        if measures_stage:
            row |= self._reporter.measure_swd(program.sampler, ema, phase)
        started = schedule.tick_start(nimg - 1)
        if is_due(started, nimg, self._config.eval.every_kimg):
            row |= self._evaluate(program, state, nimg, phase)
        self.folder.check()
        self._log.write(row)
        self.bar.print(format_tick(row))
        if measures_stage:
            self.bar.print(format_swd(row))
        if stage_ends or tick % train.grid_ticks == 0:
            self._draw_fakes(program, ema, nimg)
        if stage_ends or tick % train.snapshot_ticks == 0:
            self._write_snapshot(program, state, nimg, phase)
            self.folder.check()
            try_to_write_report(self._workdir)

    def tell_end(self, nimg: int) -> None:
        """Tells that the run is done, and where to look."""
        grids = list_grids(self._workdir / "grids")
        see = grids[-1].path if grids else self._workdir
        self.bar.print(f"done: {nimg / 1000:.1f} kimg; see {see}")

    def tell_stop(self, nimg: int, signal_name: str) -> None:
        """Tells that the run was asked to stop."""
        where = f"{signal_name or 'a stop on another host'} at {nimg / 1000:.1f} kimg"
        self.bar.print(f"{where}: state saved; run the same command to go on")

    def close(self) -> None:
        """Writes what is pending and removes the bar."""
        self.bar.close()
        self._log.close()

    def _tell_dropped(self, nimg: int) -> None:
        """Counts the rows that do not stay now that the run goes on from `nimg`."""
        again = [n for n in self._log.dropped if n > nimg]
        if again and nimg:
            self.bar.print(
                f"{len(again)} row(s) up to {again[-1] / 1000:.10g} kimg are of ticks "
                f"after the newest checkpoint, at {nimg / 1000:.10g} kimg: these ticks "
                "are trained again"
            )
        elif again:
            warn(
                f"{self._workdir} has {len(again)} row(s) up to "
                f"{again[-1] / 1000:.10g} kimg and no checkpoint, as the first was not "
                "written yet: these ticks are trained again"
            )
        if short := [n for n in self._log.dropped if n <= nimg]:
            self.bar.print(
                f"{len(short)} row(s), at {short[-1] / 1000:.10g} kimg, are left out: "
                "no tick of the schedule ends there, as where the run's old end cut "
                "one short"
            )

    def _evaluate(
        self, program: StageProgram, state: TrainState, nimg: int, phase: Phase
    ) -> dict[str, float]:
        """Measures a snapshot of this moment; returns the figures for the row."""
        assert self._evaluation is not None, "opened where it is due at all"
        self.bar.update(nimg, "measuring")
        folder = self._write_snapshot(program, state, nimg, phase)
        return self._evaluation.measure_folder(folder)

    def _write_snapshot(
        self, program: StageProgram, state: TrainState, nimg: int, phase: Phase
    ) -> Path:
        trained = None
        if self._config.train.snapshot_networks:
            trained = {"G": local(state.g_params), "D": local(state.d_params)}
        generator, ema = program.steps.generator, local(state.g_ema)
        self.folder.check()
        return self._reporter.write_snapshot(generator, ema, nimg, phase, trained)

    def _draw_fakes(self, program: StageProgram, ema: Params, nimg: int) -> None:
        phase = self._schedule.phase_at(max(nimg - 1, 0))
        self.folder.check()
        self._reporter.draw_fakes(program.sampler, ema, nimg, phase)
