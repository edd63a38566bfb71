"""The training loop: wires configuration, data, state, steps, checkpoints and logs.

Nothing here is numerical. A checkpoint at nimg holds the state before anything that
is due at nimg, such as growth, so that a run that goes on from it does what the
uninterrupted run did.
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import ml_collections

from progan_jax.config import make_schedule
from progan_jax.data import sources
from progan_jax.data.pyramid import Pyramid
from progan_jax.errors import UserError
from progan_jax.evaluate import Evaluation
from progan_jax.reporter import Reporter
from progan_jax.runtime.checkpoint import Checkpoints
from progan_jax.runtime.logging import ProgressBar, RunLog, format_swd, format_tick
from progan_jax.runtime.mesh import make_mesh, select_devices
from progan_jax.runtime.preemption import StopRequest
from progan_jax.schedule import Phase, Stage, is_due
from progan_jax.stage import StageProgram, warn_of_small_groups
from progan_jax.state import TrainState
from progan_jax.validation import validate, validate_data
from progan_jax.workdir import check_disk, exclusive, open_workdir


def train(config: ml_collections.ConfigDict, workdir: Path) -> None:
    """Trains a run to its end, from its newest checkpoint if it has one.

    Args:
      config: As configs/base.py describes it.
      workdir: Folder of the run; the same folder goes on with the same run.

    Raises:
      UserError: if configuration, data or workdir are at fault, before any training;
        or if too many updates in a row were not finite.
    """
    try:
        with StopRequest() as stop:
            _train(config, workdir, stop)
    except OSError as error:
        raise UserError(
            f"--workdir={workdir}: {error}; mend that and run the same command, which "
            "goes on from the newest checkpoint"
        ) from error


def _train(config: ml_collections.ConfigDict, workdir: Path, stop: StopRequest) -> None:
    mesh = make_mesh(select_devices(config.runtime.num_devices))
    validate(config, mesh.size)
    data: Any = config.data
    pyramid = sources.load(
        data.name,
        data.data_dir,
        data.split,
        config.model.resolution,
        data.max_memory_mib,
    )
    validate_data(config, pyramid)
    warn_of_small_groups(config, mesh.size)
    check_disk(config, workdir, mesh.size)
    keep = config.train.keep_checkpoints
    with exclusive(workdir):
        open_workdir(config, workdir, pyramid.fingerprint, mesh.size)
        with Checkpoints(workdir / "checkpoints", keep=keep) as saved:
            _Run(config, workdir, mesh, pyramid, saved, stop).run()


class _Run:
    """One process's part of a run."""

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        workdir: Path,
        mesh: jax.sharding.Mesh,
        pyramid: Pyramid,
        checkpoints: Checkpoints,
        stop: StopRequest,
    ) -> None:
        self.config, self.workdir, self.mesh = config, workdir, mesh
        self.pyramid, self.checkpoints, self.stop = pyramid, checkpoints, stop
        self.schedule = make_schedule(config)
        restored = checkpoints.restore_newest(self._abstract_state)
        if restored is None:
            self.nimg, total_sec = 0, 0.0
            self.program = self._program(config.schedule.start_resolution)
            self.state = self.program.create()
        else:
            self.state, meta = restored
            self.nimg, total_sec = meta["nimg"], meta["total_sec"]
            self.schedule = make_schedule(config, _stages(meta))
            self.program = self._program(meta["resolution"])
            self.state = _forgive(self.state, config.train.max_skipped)
        self.tick_shown = 0
        self.reporter = Reporter(config, self.schedule, pyramid, workdir, total_sec)
        self.evaluation: Evaluation | None = None
        if config.eval.every_kimg:
            self.evaluation = Evaluation(config, workdir, pyramid, mesh)
        # A run that was made longer has lost the tick that its old end cut short.
        self.log = RunLog(
            workdir,
            lambda nimg: nimg <= self.nimg and self.schedule.is_tick_end(nimg),
        )
        self.bar = ProgressBar(self.schedule.end_nimg(), self.nimg)

    def run(self) -> None:
        """Trains until the end of the schedule or a request to stop."""
        end = self.schedule.end_nimg()
        self._greet(end)
        if self.nimg == 0:
            self.reporter.draw_reals()
            self._draw_fakes()
        in_row = self.state.skipped_in_row + 0
        if self.nimg < end and not self.stop:
            self._prepare()
        while self.nimg < end and not self.stop:
            self._change_phase()
            in_row = self._dispatch(in_row)
            if self.schedule.is_tick_end(self.nimg):
                self._check_skipped(in_row)
                self._end_tick()
        self._check_skipped(in_row)
        self._finish(end)

    def _dispatch(self, previous_in_row: jax.Array) -> jax.Array:
        """Runs pairs up to the next event; the host looks at the dispatch before."""
        r = self.program.resolution
        left = self.schedule.next_event(self.nimg) - self.nimg
        shown = self.schedule.pair_nimg(r)
        num_pairs = min(self.program.max_pairs, left // shown)
        self.state, in_row = self.program.run(self.state, self.nimg, num_pairs)
        self.nimg += num_pairs * shown
        self.tick_shown += num_pairs * shown
        self._check_skipped(previous_in_row)
        self.bar.update(self.nimg, f"{r}x{r}")
        return in_row

    def _prepare(self) -> None:
        """Loads the reals and compiles the steps; the tick is timed from here on."""
        r = self.program.resolution
        self.bar.update(self.nimg, f"compiling {r}x{r}")
        self.program.prepare(self.pyramid)
        self.reporter.start_tick()

    def _change_phase(self) -> None:
        """Grows where a stage begins, and resets the optimizers where a fade ends."""
        stage = self.schedule.stage_at(self.nimg)
        if stage.resolution != self.program.resolution:
            self.program.close()
            self.program = self._program(stage.resolution)
            self.state = self.program.grow(self.state)
            self._prepare()
        elif (
            self.config.optim.reset_at_fades
            and stage.start_nimg < self.nimg == self.schedule.fade_end(stage)
        ):
            self.state = self.program.reset_optimizers(self.state)

    def _end_tick(self) -> None:
        """Reports, draws and saves what is due at the end of a tick."""
        train, schedule = self.config.train, self.schedule
        tick = schedule.ticks_until(self.nimg)
        phase = schedule.phase_at(self.nimg - 1)
        row = self.reporter.tick(self.state.sums, self.nimg, self.tick_shown, phase)
        self.tick_shown = 0
        self.state = self.program.reset_sums(self.state)
        stage_ends = self.nimg == schedule.stage_end(schedule.stage_at(self.nimg - 1))
        if stage_ends and self.config.eval.stage_swd_images:
            row |= self.reporter.measure_swd(
                self.program.sampler, self.state.g_ema, phase
            )
        started = schedule.tick_start(self.nimg - 1)
        if is_due(started, self.nimg, self.config.eval.every_kimg):
            row |= self._evaluate(phase)
        self.log.write(row)
        self.bar.print(format_tick(row))
        if stage_ends and self.config.eval.stage_swd_images:
            self.bar.print(format_swd(row))
        if stage_ends or tick % train.grid_ticks == 0:
            self._draw_fakes()
        if stage_ends or tick % train.snapshot_ticks == 0:
            self._write_snapshot(phase)
        if stage_ends or tick % train.checkpoint_ticks == 0:
            self._save()
        self.reporter.start_tick()

    def _evaluate(self, phase: Phase) -> dict[str, float]:
        """Measures a snapshot of this moment; returns the figures for the row."""
        assert self.evaluation is not None, "opened where it is due at all"
        self.bar.update(self.nimg, "measuring")
        return self.evaluation.measure_folder(self._write_snapshot(phase))

    def _write_snapshot(self, phase: Phase) -> Path:
        generator = self.program.steps.generator
        ema = self.state.g_ema
        return self.reporter.write_snapshot(generator, ema, self.nimg, phase)

    def _finish(self, end: int) -> None:
        self.program.close()
        if self.nimg < end:
            self._save(wait=True)
            where = f"{self.stop.signal_name} at {self.nimg / 1000:.1f} kimg"
            self.bar.print(f"{where}: state saved; run the same command to go on")
        else:
            self.checkpoints.wait()
            grids = sorted((self.workdir / "grids").glob("fakes_*.png"))
            see = grids[-1] if grids else self.workdir
            self.bar.print(f"done: {self.nimg / 1000:.1f} kimg; see {see}")
        self.bar.close()
        self.log.close()

    def _check_skipped(self, in_row: jax.Array) -> None:
        """Ends the run if the loop on the device has given up."""
        limit = self.config.train.max_skipped
        if int(in_row) < limit:
            return
        self.nimg = self.schedule.nimg_after(int(self.state.pairs))
        self._save(wait=True)
        self.bar.close()
        self.log.close()
        raise UserError(
            f"stopped at {self.nimg / 1000:.1f} kimg: {limit} updates in a row had a "
            "loss or gradient that is not finite "
            f"(config.train.max_skipped = {limit}); "
            "none was applied, and the state is saved in "
            f"{self.workdir / 'checkpoints'}; look at Health/skipped and Loss/* in "
            f"{self.workdir / 'stats.jsonl'}, then lower the learning rates in a new "
            "workdir, or run the same command to try once more"
        )

    def _save(self, wait: bool = False) -> None:
        stages = [s for s in self.schedule.stages() if s.start_nimg < max(self.nimg, 1)]
        meta = {
            "nimg": self.nimg,
            "resolution": self.program.resolution,
            "stages": [dataclasses.asdict(stage) for stage in stages],
            "total_sec": self.reporter.total_sec,
        }
        self.checkpoints.save(self.nimg, self.state, meta, wait=wait)

    def _draw_fakes(self) -> None:
        phase = self.schedule.phase_at(max(self.nimg - 1, 0))
        self.reporter.draw_fakes(
            self.program.sampler, self.state.g_ema, self.nimg, phase
        )

    def _program(self, resolution: int) -> StageProgram:
        return StageProgram(
            self.config, self.schedule, resolution, self.mesh, self.pyramid.label_counts
        )

    def _abstract_state(self, meta: dict) -> TrainState:
        return self._program(meta["resolution"]).abstract_state()

    def _greet(self, end: int) -> None:
        devices = self.mesh.devices.flatten()
        verb = "goes on from" if self.nimg else "starts at"
        self.bar.print(
            f"{self.workdir}: {self.pyramid.name}, {self.pyramid.num_images} images, "
            f"{len(devices)} x {devices[0].device_kind}; {verb} "
            f"{self.nimg / 1000:.1f} of {end / 1000:.1f} kimg"
        )


def _stages(meta: dict) -> tuple[Stage, ...]:
    return tuple(Stage(**stage) for stage in meta["stages"])


def _forgive(state: TrainState, max_skipped: int) -> TrainState:
    """Lets a run that stopped for too many skipped updates try once more."""
    if int(state.skipped_in_row) < max_skipped:
        return state
    return state.replace(skipped_in_row=state.skipped_in_row * 0)
