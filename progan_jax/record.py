"""What a run writes and prints, all of it by its primary process."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import ml_collections

from progan_jax.data.pyramid import Pyramid
from progan_jax.evaluate import Evaluation
from progan_jax.image_sources import describe_set
from progan_jax.report.page import try_to_write_report
from progan_jax.report.pictures import list_grids
from progan_jax.reporter import Reporter
from progan_jax.runtime.logging import (
    ProgressBar,
    RunLog,
    format_swd,
    format_tick,
    warn,
)
from progan_jax.runtime.mesh import local
from progan_jax.schedule import Phase, Schedule, is_due
from progan_jax.stage import StageProgram
from progan_jax.state import Params, TrainState
from progan_jax.workdir import RunFolder


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
