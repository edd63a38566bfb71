"""Output of a run, written and printed by its primary process.

At the end of a tick: scalars, grids, snapshots, the sliced Wasserstein distance and
the report. The scalars have the names of the authors' program; Health/* are ours.
"""

import math
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
from progan_jax.evaluate import Evaluation
from progan_jax.images import grid_shape, tile, upscale_nearest, write_png
from progan_jax.inference.sampling import Sampler, draw_latents
from progan_jax.inference.snapshot import moment_name, write_snapshot
from progan_jax.metrics.image_sources import describe_set
from progan_jax.metrics.swd import swd
from progan_jax.models.common import to_weights
from progan_jax.publication import BestOnHub
from progan_jax.runtime.logging import (
    STAGE_SWD,
    ProgressBar,
    RunLog,
    format_kimg,
    format_swd,
    format_tick,
    last_nimg,
    peak_memory_mib,
)
from progan_jax.runtime.mesh import local
from progan_jax.runtime.writers import Writers
from progan_jax.training.config import (
    family_of,
    model_options,
    parse_grid,
)
from progan_jax.training.remaining import RemainingTime, matmul_rate, pair_work
from progan_jax.training.schedule import Phase, Schedule, Stage, is_due
from progan_jax.training.stage import StageProgram
from progan_jax.training.state import TrainState
from progan_jax.training.workdir import RunFolder

# Folded into the run's key. The keys of weights and training steps come from splitting
# it instead.
_GRID_KEY, _SWD_KEY = 1, 2

# Minimum time between reports: one takes half a second, like a tick of a small run.
_REPORT_SEC = 30.0


class Record:
    """The rows, grids, snapshots, reports and printed lines of a run.

    Attributes:
      folder: Folder of the run.
      bar: Shows the progress of the run, and prints lines.
      total_sec: Wall time of the run so far, over all its restarts.
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
        """Opens the log, and removes the rows after the point of the resume.

        Args:
          config: Configuration of the run.
          schedule: Schedule of the run.
          folder: Folder of the run.
          mesh: Mesh over all processes.
          pyramid: The image set.
          nimg: Number of images shown so far.
          total_sec: Wall time so far.
          origin: Fields for snapshots about the networks that the run started from.

        Raises:
          UserError: if the run cannot be evaluated.
          OSError: if the folder cannot be written.
        """
        self.folder, self.total_sec = folder, total_sec
        self._config, self._schedule, self._workdir = config, schedule, folder.path
        self._mesh, self._pyramid, self._origin = mesh, pyramid, origin
        self._seed: Any = config.seed
        grid = config.train.grid
        self._columns, rows = parse_grid(grid) or grid_shape(
            config.model.resolution, grid
        )
        self._grid_indices = self._choose_reals(self._columns, rows)
        self._grid_latents = self._latents(_GRID_KEY, self._columns * rows)
        self._evaluations: dict[int, Evaluation] = {}
        self._evaluation(schedule.stage_at(nimg))
        self._hub = self._open_hub() if config.train.push_to_hub else None
        # A run that is made longer drops its last row if its end cut that tick short.
        self._log = RunLog(
            folder.path,
            lambda n: n <= nimg and schedule.is_tick_end(n),
            expected=schedule.ticks_until(nimg),
            open_writer=lambda rows: Writers(
                config.train.writers, folder.path, rows, config.to_dict()
            ),
        )
        self.bar = ProgressBar(schedule.end_nimg(), nimg, schedule.may_end_before)
        self._tick_started = self._maintenance_started = time.perf_counter()
        self._reported, self._is_report_due = -math.inf, False

    def greet(self, nimg: int) -> None:
        """Prints the image set, the devices and the progress so far."""
        devices, end = self._mesh.devices.flatten(), self._schedule.end_nimg()
        verb = "continues from" if nimg else "starts at"
        hosts = jax.process_count()
        most = "at most " if self._schedule.may_end_before else ""
        among = f" of {hosts} processes" if hosts > 1 else ""
        self.bar.print(describe_set(self._config, self._pyramid))
        self.bar.print(
            f"{self._workdir}: {len(devices)} x {devices[0].device_kind}{among}; "
            f"{verb} {format_kimg(nimg / 1000)} of {most}{format_kimg(end / 1000)} kimg"
        )
        self._report_dropped(nimg)

    def start_tick(self) -> None:
        """Starts the clock of a tick, after the maintenance of the previous one."""
        self._tick_started = time.perf_counter()

    def draw_start(self, program: StageProgram, state: TrainState) -> None:
        """Writes the grids of real images and of the initial generator's fakes."""
        reals = self._pyramid.levels[self._config.model.resolution][self._grid_indices]
        self._write_grid("reals.png", reals)
        self.draw_fakes(program.sampler, local(state.averaged), 0)

    def end_tick(
        self, program: StageProgram, state: TrainState, nimg: int, shown: int
    ) -> None:
        """Measures, prints and writes what is due at the end of a tick.

        Args:
          program: Program of the stage.
          state: State with the sums of the tick.
          nimg: Number of images shown.
          shown: Number of images shown in this tick by this process.
        """
        train, schedule = self._config.train, self._schedule
        tick, phase = schedule.ticks_until(nimg), schedule.phase_at(nimg - 1)
        ema = local(state.averaged)
        row = self.tick(state.sums, nimg, shown, phase)
        stage_ends = schedule.is_stage_end(nimg)
        measures_stage = stage_ends and self._config.eval.stage_swd_images
        if measures_stage:
            row |= self.measure_swd(program.sampler, ema, phase)
        started = schedule.tick_start(nimg - 1)
        evaluation = self._evaluation(schedule.stage_at(nimg - 1))
        measures = evaluation and is_due(started, nimg, self._config.eval.every_kimg)
        if measures:
            self.bar.update(nimg, "measuring")
            snapshot = self.write_snapshot(program, state, nimg, phase)
            row |= evaluation.measure_folder(snapshot)
        if family_of(self._config).RESTARTS:
            row["Progress/plateau"] = float(self.judge_stage(nimg)[0])
        self.folder.check()
        self._log.write(row)
        if self._hub and measures:
            self._hub.offer()
        self.bar.print(format_tick(row, schedule.fades, schedule.may_end_before))
        if measures_stage:
            self.bar.print(format_swd(row))
        if stage_ends or tick % train.grid_ticks == 0:
            self.draw_fakes(program.sampler, ema, nimg)
        if stage_ends or tick % train.snapshot_ticks == 0:
            self.write_snapshot(program, state, nimg, phase)
            self.folder.check()
            self._is_report_due = True
            if time.perf_counter() - self._reported > _REPORT_SEC:
                self._write_report()

    def judge_stage(self, nimg: int) -> tuple[bool, str]:
        """Judges a stage of a family whose stages restart, at the end of a tick.

        Returns:
          Whether the stage has reached a plateau, and the name of its best snapshot, or
          the newest one if none was measured.
        """
        stage = self._schedule.stage_at(nimg - 1)
        evaluation = self._evaluation(stage)
        ranked = evaluation.rank(stage.start_nimg, nimg) if evaluation else []
        # Without what only --mode=eval has measured: a look must not change a run.
        ranked = [row for row in ranked if self._was_due(row[1])]
        if not ranked:
            return False, moment_name(nimg, stage.resolution)
        best = min(ranked, key=lambda row: row[0])
        patience = self._config.schedule.plateau_evaluations
        # Judged where it was measured, so that a tick without a measurement ends none.
        is_new = ranked[-1][1] == nimg
        since = len(ranked) - 1 - ranked.index(best)
        return bool(patience) and is_new and since >= patience, best[2]

    def _was_due(self, nimg: int) -> bool:
        """Returns whether the tick that ended at `nimg` was measured in training."""
        started = self._schedule.tick_start(nimg - 1)
        return is_due(started, nimg, self._config.eval.every_kimg)

    def follow(self, schedule: Schedule, nimg: int) -> None:
        """Goes on with a schedule whose stage has ended after `nimg` images."""
        self._schedule = self._remaining.schedule = schedule
        if schedule.ended_nimg:
            patience = self._config.schedule.plateau_evaluations
            self.bar.print(
                f"a plateau at {format_kimg(nimg / 1000)} kimg ends the run: "
                f"{patience} evaluations without a better {self._config.eval.best}; to "
                "go on, raise config.schedule.plateau_evaluations"
            )
        else:
            stage = schedule.stage_at(nimg)
            side = f"{stage.resolution}x{stage.resolution}"
            self.bar.print(f"{side} begins with {stage.stem}")

    def print_end(self, nimg: int) -> None:
        """Prints that the run is done, and the path of the newest grid."""
        grids = list_grids(self._workdir / "grids")
        see = grids[-1].path if grids else self._workdir
        self.bar.print(f"done: {format_kimg(nimg / 1000)} kimg; see {see}")

    def draw_stop(self, program: StageProgram, state: TrainState, nimg: int) -> None:
        """Writes the grid and the snapshot of a run whose time is up."""
        if nimg:
            self.draw_fakes(program.sampler, local(state.averaged), nimg)
            self.write_snapshot(program, state, nimg, self._schedule.phase_at(nimg - 1))
            self._is_report_due = bool(last_nimg(self._workdir / "stats.jsonl"))

    def print_stop(self, nimg: int, reason: str) -> None:
        """Prints that the run was asked to stop."""
        kimg = format_kimg(nimg / 1000)
        where = f"{reason or 'a stop on another host'} at {kimg} kimg"
        self.bar.print(f"{where}: state saved; run the same command to continue")

    def close(self) -> None:
        """Writes what is pending and removes the bar."""
        if self._is_report_due:
            self._write_report()
        if self._hub:
            self._hub.close()
        self.bar.close()
        self._log.close()

    def tick(
        self, sums: Mapping[str, jax.Array], nimg: int, shown: int, phase: Phase
    ) -> dict[str, float]:
        """Returns the row of a tick.

        Args:
          sums: Sums of the state since the last tick.
          nimg: Number of images shown at its end.
          shown: Number of images shown in this tick by this process.
          phase: Phase of the last image.
        """
        totals = {name: float(value) for name, value in jax.device_get(sums).items()}
        now = time.perf_counter()
        sec = now - self._tick_started
        maintenance = self._tick_started - self._maintenance_started
        self.total_sec += now - self._maintenance_started
        self._maintenance_started = now
        self._remaining.add(phase.resolution, shown, sec)
        return {
            "Progress/tick": self._schedule.ticks_until(nimg),
            "Progress/kimg": nimg / 1000,
            "Progress/nimg": nimg,
            "Progress/lod": phase.lod,
            "Progress/minibatch": phase.batch_size,
            "Progress/resolution": phase.resolution,
            "Progress/alpha": phase.alpha,
            "Timing/sec_per_tick": sec,
            "Timing/sec_per_kimg": sec / shown * 1000,
            "Timing/img_per_sec": shown / sec,
            "Timing/maintenance_sec": maintenance,
            "Timing/total_sec": self.total_sec,
            "Timing/total_hours": self.total_sec / 3600,
            "Timing/total_days": self.total_sec / 86400,
            "Timing/eta_sec": self._remaining.after(nimg),
            "Memory/peak_mib": peak_memory_mib(),
            **self._scalars(totals),
            "TrainG/learning_rate": phase.g_learning_rate,
            "TrainD/learning_rate": phase.d_learning_rate,
        }

    def _scalars(self, totals: Mapping[str, float]) -> dict[str, float]:
        """Turns the sums of a tick into means, named as in the authors' program."""
        curves, row = family_of(self._config).CURVES.values(), {}
        health = {name for names in curves for name in names}
        for name, total in totals.items():
            if name.endswith(("_steps", "_skipped")):
                continue
            kind = name.partition("_")[0]
            steps = totals[f"{kind if kind in ('g', 'penalty') else 'd'}_steps"]
            group = "Health" if f"Health/{name}" in health else "Loss"
            row[f"{group}/{name}"] = total / steps if steps else float("nan")
        for network in "GD":
            steps = totals[f"{network.lower()}_steps"]
            skipped = totals[f"{network.lower()}_skipped"]
            row[f"Train{network}/overflow_frequency"] = skipped / max(
                steps + skipped, 1
            )
        row["Health/score_gap"] = row["Loss/real_scores"] - row["Loss/fake_scores"]
        skips = [total for name, total in totals.items() if name.endswith("_skipped")]
        row["Health/skipped"] = int(sum(skips))
        return row

    def draw_fakes(self, sampler: Sampler, ema: Mapping[str, Any], nimg: int) -> None:
        """Writes the grid of the fixed latents, enlarged to the final resolution."""
        phase = self._schedule.phase_at(max(nimg - 1, 0))
        labels = self._labels(self._grid_indices)
        fakes = sampler.sample(ema, phase.alpha, self._grid_latents, labels)
        name = f"fakes_{moment_name(nimg, phase.resolution)}.png"
        grid = self._write_grid(name, self._upscale(fakes))
        self._log.write_image(nimg, "fakes", grid)

    def measure_swd(
        self, sampler: Sampler, ema: Mapping[str, Any], phase: Phase
    ) -> dict[str, float]:
        """Returns SWD x 1e3 between real images and fakes at the final resolution.

        Fakes are enlarged. Levels and their mean, by their names in the row of a tick.
        """
        num = min(self._config.eval.stage_swd_images, self._pyramid.num_images)
        stream = IndexStream(self._seed, self._pyramid.num_images, mirror=False)
        indices, _ = stream.take(0, num)
        latents = self._latents(_SWD_KEY, num)
        fakes = sampler.sample(ema, phase.alpha, latents, self._labels(indices))
        reals = self._pyramid.levels[self._config.model.resolution][indices]
        levels = swd(reals, self._upscale(fakes), seed=self._seed)
        row = {f"{STAGE_SWD}{side}": value for side, value in levels.items()}
        return row | {f"{STAGE_SWD}average": float(np.mean(list(levels.values())))}

    def write_snapshot(
        self, program: StageProgram, state: TrainState, nimg: int, phase: Phase
    ) -> Path:
        """Writes the snapshot of the averaged generator and returns its folder."""
        config, pyramid = self._config, self._pyramid
        trained, stem = None, self._schedule.stage_at(nimg - 1).stem
        if config.train.snapshot_networks:
            networks = jax.device_get(local(state.trained))
            trained = {"G": to_weights(networks.g), "D": to_weights(networks.d)}
        info = {
            "family": config.family,
            "options": asdict(model_options(config)),
            "stage": {
                "resolution": program.resolution,
                "alpha": phase.alpha,
                "nimg": nimg,
            }
            | ({"stem": stem} if stem else {}),
            "config": config.to_dict(),
            "dataset": {
                "name": pyramid.name,
                "num_images": pyramid.num_images,
                "num_classes": pyramid.num_classes,
                "class_names": list(pyramid.class_names),
                "fingerprint": pyramid.fingerprint,
            },
            **self._origin,
        }
        folder = self._workdir / "snapshots" / moment_name(nimg, phase.resolution)
        self.folder.check()
        ema = jax.device_get(local(state.averaged))
        write_snapshot(folder, to_weights(ema), info, trained)
        return folder

    def _evaluation(self, stage: Stage) -> Evaluation | None:
        """Returns the measurements of a stage; None if none are made in training."""
        config = self._config
        if not config.eval.every_kimg:
            return None
        restarts = family_of(config).RESTARTS
        side = stage.resolution if restarts else int(config.model.resolution)
        if side not in self._evaluations:
            self._evaluations = {
                side: Evaluation(config, self._workdir, self._pyramid, self._mesh, side)
            }
        return self._evaluations[side]

    def _open_hub(self) -> BestOnHub:
        train = self._config.train
        to_open = self._workdir, train.push_to_hub, train.hub_licence, self._origin
        return BestOnHub(*to_open, lambda line: self.bar.print(line))

    @cached_property
    def _remaining(self) -> RemainingTime:
        work = {
            side: pair_work(self._config, self._schedule, side)
            for side in self._schedule.resolutions
        }
        return RemainingTime(
            self._schedule,
            work,
            matmul_rate(self._config.model.dtype) * self._mesh.size,
        )

    def _choose_reals(self, columns: int, rows: int) -> np.ndarray:
        """Returns indices of real images for a grid; its fakes take their classes."""
        num_images, labels = self._pyramid.num_images, self._pyramid.labels
        stream = IndexStream(self._seed, num_images, mirror=False)
        if labels is None or not self._config.train.grid_by_class:
            return stream.take(0, columns * rows)[0]
        epoch, _ = stream.take(0, num_images)
        return rows_by_class(epoch, labels, columns, rows)

    def _labels(self, indices: np.ndarray) -> np.ndarray | None:
        labels = self._pyramid.labels
        return None if labels is None else labels[indices]

    def _latents(self, purpose: int, num: int) -> np.ndarray:
        key = jax.random.fold_in(jax.random.key(self._seed), purpose)
        return draw_latents(key, num, self._config.model.latent_size)

    def _upscale(self, images: np.ndarray) -> np.ndarray:
        return upscale_nearest(images, self._config.model.resolution // images.shape[1])

    def _write_grid(self, name: str, images: np.ndarray) -> np.ndarray:
        self.folder.check()
        grid = tile(images, self._columns)
        write_png(self._workdir / "grids" / name, grid)
        return grid

    def _write_report(self) -> None:
        try_to_write_report(self._workdir)
        self._reported, self._is_report_due = time.perf_counter(), False

    def _report_dropped(self, nimg: int) -> None:
        """Reports the rows that the log dropped at the resume from `nimg`."""
        dropped = self._log.dropped
        if again := [n for n in dropped if n > nimg]:
            start = "the start, as there is no checkpoint"
            newest = f"the newest checkpoint, at {nimg / 1000:,.10g} kimg"
            self.bar.print(
                f"{len(again)} row(s) up to {again[-1] / 1000:,.10g} kimg are of ticks "
                f"after {newest if nimg else start}: these ticks are trained again"
            )
        if short := [n for n in dropped if n <= nimg]:
            self.bar.print(
                f"{len(short)} row(s), at {short[-1] / 1000:,.10g} kimg, are left out: "
                "no tick of the schedule ends there; the run's previous end may have "
                "cut one short"
            )


def rows_by_class(
    order: np.ndarray, labels: np.ndarray, columns: int, rows: int
) -> np.ndarray:
    """Returns indices of images such that each row of a grid shows one class.

    Args:
      order: Indices of all images; a row shows the first ones of its class.
      labels: Classes int [n].
      columns: Number of columns.
      rows: Number of rows. If there are more rows than classes, further rows show the
        next images of each class; a class with too few images repeats them.

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
