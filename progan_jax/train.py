"""The training loop: wires configuration, data, state, steps, checkpoints and logs.

Nothing here is numerical. A checkpoint at nimg holds the state before anything that
is due at nimg, such as growth, so that a run that resumes from it does what the
uninterrupted run did.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

from progan_jax.data.pyramid import Pyramid
from progan_jax.errors import DivergedError, UserError
from progan_jax.files import check_utf_8
from progan_jax.inference.hub import SCHEME, check_login
from progan_jax.inference.publish import settle_licence
from progan_jax.models.families import Files
from progan_jax.record import Record
from progan_jax.runtime.checkpoint import Checkpoints
from progan_jax.runtime.distributed import StopVote, is_primary, share_json, together
from progan_jax.runtime.logging import format_kimg
from progan_jax.runtime.mesh import make_mesh, select_devices
from progan_jax.runtime.preemption import StopRequest
from progan_jax.runtime.writers import check_writers
from progan_jax.training.agreement import (
    agree_on_config,
    agree_on_files,
    agree_on_set,
)
from progan_jax.training.config import (
    family_of,
    loss_options,
    make_schedule,
    model_options,
)
from progan_jax.training.disk import check_disk
from progan_jax.training.schedule import Stage
from progan_jax.training.stage import NextProgram, StageProgram, warn_of_small_groups
from progan_jax.training.start import (
    Initial,
    open_initial,
    open_set,
    open_stem,
    restart_from,
    start_from,
)
from progan_jax.training.state import TrainState, forgive, split_key
from progan_jax.training.validation import validate
from progan_jax.training.workdir import (
    RunFolder,
    check_begun,
    exclusive,
    open_workdir,
)


def _ignore(text: str) -> None:
    del text


def train(
    config: ml_collections.ConfigDict,
    workdir: Path,
    deadline: float = math.inf,
    tell: Callable[[str], None] = _ignore,
) -> str:
    """Trains a run to its end, from its newest checkpoint if it has one.

    With several processes each trains its part; only the primary writes to the folder.

    Args:
      config: Configuration of the run; see configs/base.py.
      workdir: Folder of the run; the same folder continues the same run.
      deadline: Reading of `time.monotonic` at which it stops, with a snapshot.
      tell: Takes what is being done, such as "compiling 64x64".

    Returns:
      Name of the signal that asked this process to stop, or "".

    Raises:
      UserError: if configuration, data or workdir are at fault, before any training.
      DivergedError: if too many updates in a row were not finite.
    """
    try:
        with StopRequest(deadline) as stop:
            _train(config, workdir, stop, tell)
        return stop.signal_name
    except BrokenPipeError:  # The reader of the output, such as `head`, has ended.
        raise
    except OSError as error:
        raise UserError(
            f"--workdir={workdir}: {error}; fix that, or restore the folder if it was "
            "deleted or moved, and run the same command, which continues from the "
            "newest checkpoint that is there"
        ) from error


def check_accounts(config: ml_collections.ConfigDict) -> None:
    """Checks, before any work, what a run needs to send its results elsewhere.

    Raises:
      UserError: if a library, the key of Weights & Biases, the Hub's token or a licence
        is missing.
    """
    check_writers(config.train.writers)
    if repository := config.train.push_to_hub:
        check_login("config.train.push_to_hub", f"{SCHEME}{repository}")
        if not config.init_from:  # Else the networks may have a licence of their own.
            licence = config.train.hub_licence or None
            settle_licence({}, licence, "config.train.hub_licence")


def _train(
    config: ml_collections.ConfigDict,
    workdir: Path,
    stop: StopRequest,
    tell: Callable[[str], None],
) -> None:
    tell("opening the images")
    agree_on_config(config)
    mesh = make_mesh(select_devices(config.runtime.num_devices))
    validate(config, mesh.size)
    together(lambda: check_accounts(config) if is_primary() else None)
    together(lambda: check_begun(config, workdir) if is_primary() else None)
    pyramid = together(lambda: open_set(config))
    agree_on_set(pyramid)
    initial = together(lambda: open_initial(config, workdir))
    options = model_options(config), loss_options(config)
    files = together(lambda: family_of(config).files(*options))
    agree_on_files(files)
    keep = config.train.keep_checkpoints
    with ExitStack() as stack:
        to_open = config, workdir, pyramid, files, mesh.size
        folder = together(lambda: _open(*to_open, stack))
        saved = stack.enter_context(Checkpoints(workdir / "checkpoints", keep=keep))
        try:
            given = config, workdir, mesh, pyramid, files
            _Run(*given, saved, stop, tell, initial, folder).run()
        except (OSError, UserError):
            # If the folder itself is gone, report that instead.
            if folder:
                folder.check()
            raise


def _open(
    config: ml_collections.ConfigDict,
    workdir: Path,
    pyramid: Pyramid,
    files: Files,
    num_devices: int,
    stack: ExitStack,
) -> RunFolder | None:
    """Opens the folder for this run, on the primary process only."""
    if not is_primary():
        return None
    warn_of_small_groups(config, num_devices)
    check_utf_8("--workdir", str(workdir.absolute()))
    folder = stack.enter_context(exclusive(workdir))
    check_disk(config, workdir, num_devices)
    open_workdir(config, workdir, pyramid.fingerprint, num_devices, files)
    return folder


class _Run:
    """One process's part of a run.

    Attributes:
      record: Output of the run; None except on the primary process.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        workdir: Path,
        mesh: jax.sharding.Mesh,
        pyramid: Pyramid,
        files: Files,
        checkpoints: Checkpoints,
        stop: StopRequest,
        tell: Callable[[str], None],
        initial: Initial | None,
        folder: RunFolder | None,
    ) -> None:
        self.config, self.workdir, self.mesh = config, workdir, mesh
        self.pyramid, self.checkpoints, self.stop = pyramid, checkpoints, stop
        self.tell = tell
        self.schedule = make_schedule(config)
        self.next = NextProgram(config, mesh, pyramid, self._program)
        restored = checkpoints.restore_newest(
            self._abstract_state, partial(check_restored, config)
        )
        if restored is None:
            self.nimg, total_sec = 0, 0.0
            self.program = self._program(config.schedule.start_resolution)
            self.state = self.program.create(pyramid)
            self.origin = initial.origin if initial else {}
            if config.init_from:
                self.state = start_from(self.state, initial, mesh)
        else:
            self.state, meta = restored
            self.nimg, total_sec = meta["nimg"], meta["total_sec"]
            self.schedule = make_schedule(config, *_recorded(meta))
            if config.schedule.plateau_evaluations > meta.get("plateau_evaluations", 0):
                # More patience than the run had at its end.
                self.schedule = dataclasses.replace(self.schedule, ended_nimg=0)
            self.program = self._program(meta["resolution"])
            self.state = forgive(self.state, config.train.max_skipped)
            self.origin = meta.get("origin", {})
        if files:
            # Of the same content as at the start, though perhaps of other names.
            self.origin = self.origin | {"frozen_files": files}
        self.tick_shown = 0
        self.record = together(lambda: self._open_record(folder, total_sec))

    def run(self) -> None:
        """Trains until the end of the schedule or a request to stop."""
        if self.record:
            self.record.greet(self.nimg)
            if self.nimg == 0:
                self._show("drawing")
                self.record.draw_start(self.program, self.state)
                if self.config.init_from:
                    self._save(wait=True)
        in_row = self.state.skipped_in_row + 0  # A copy: the state will be donated.
        vote = StopVote(self.stop, self.mesh)
        vote.cast()
        if not self._is_done() and not vote.passed() and not self._grow_if_due():
            self._prepare()
        while not self._is_done() and not vote.passed():
            vote.cast()
            self._change_phase()
            in_row = self._dispatch(in_row)
            if self.schedule.is_tick_end(self.nimg):
                self._check_skipped(in_row)
                self._end_tick()
        self._check_skipped(in_row)
        self._finish()

    def _is_done(self) -> bool:
        return self.nimg >= self.schedule.end_nimg()

    def _dispatch(self, previous_in_row: jax.Array) -> jax.Array:
        """Runs pairs up to the next event, then checks the previous dispatch.

        The host stays one dispatch behind, so that the device need not wait for it.
        """
        r = self.program.resolution
        left = self.schedule.next_event(self.nimg) - self.nimg
        shown = self.schedule.pair_nimg(r)
        num_pairs = min(self.program.max_pairs, left // shown)
        self.state, in_row = self.program.run(self.state, self.nimg, num_pairs)
        self.nimg += num_pairs * shown
        self.tick_shown += num_pairs * shown
        self._check_skipped(previous_in_row)
        self._show("training")
        return in_row

    def _prepare(self) -> None:
        """Loads the real images, compiles the steps and starts the tick's clock."""
        self._show("compiling")
        self.program.prepare(self.pyramid)
        self.next.start(self.schedule, self.nimg)
        if self.record:
            self.record.start_tick()

    def _change_phase(self) -> None:
        """Grows if a stage begins, and resets the optimizers if a fade ends."""
        if self._grow_if_due() or not self.config.optim.reset_at_fades:
            return
        stage = self.schedule.stage_at(self.nimg)
        if stage.start_nimg < self.nimg == self.schedule.fade_end(stage):
            self.state = self.program.reset_optimizers(self.state)

    def _grow_if_due(self) -> bool:
        """Grows if the stage has another resolution; returns whether it did."""
        resolution = self.schedule.stage_at(self.nimg).resolution
        if resolution == self.program.resolution:
            return False
        self.program.close()
        self.program = self.next.take(resolution)
        self.program.schedule = self.schedule
        self.state = (
            self._restart() if self._restarts else self.program.grow(self.state)
        )
        self._prepare()
        return True

    def _restart(self) -> TrainState:
        """Returns a new state on the generator that the last stage chose."""
        if not self.schedule.stage_at(self.nimg).stem:
            # The run was made longer after it had ended with a stage.
            self._end_stage(self._judge()[1])
            self.program.schedule = self.schedule
        name = self.schedule.stage_at(self.nimg).stem
        stem = together(lambda: open_stem(self.workdir, name) if self.record else None)
        new = self.program.create(self.pyramid)
        return restart_from(new, self.state, stem, self.mesh)

    @property
    def _restarts(self) -> bool:
        return family_of(self.config).RESTARTS

    def _end_tick(self) -> None:
        """Reports, draws and saves what is due at the end of a tick."""
        self._show("drawing and saving")
        if self.record:
            self.record.folder.check()
            # A row after a checkpoint proves that the checkpoint was on the disk.
            self.checkpoints.wait()
            self.record.end_tick(self.program, self.state, self.nimg, self.tick_shown)
        self.tick_shown = 0
        self.state = self.program.reset_sums(self.state)
        if self._restarts:
            self._end_stage_if_due()
        if self.schedule.is_save_due(self.nimg, self.config.train.checkpoint_ticks):
            self._save()
        if self.record:
            self.record.start_tick()

    def _end_stage_if_due(self) -> None:
        """Ends the stage by its length or a plateau, and records what follows from it.

        What ends with the run is not recorded: the run may be made longer.
        """
        on_plateau, stem = self._judge()
        if self._is_done():
            return
        if on_plateau or self.schedule.is_stage_end(self.nimg):
            self._end_stage(stem)

    def _judge(self) -> tuple[bool, str]:
        """Returns what `Record.judge_stage` does, on all processes.

        The primary decides for all, since it alone measures.
        """
        judge = self.record.judge_stage if self.record else None
        on_plateau, stem = share_json(
            together(lambda: judge(self.nimg) if judge else None)
        )
        return on_plateau, stem

    def _end_stage(self, stem: str) -> None:
        self.schedule = self.schedule.end_stage(self.nimg, stem)
        if self.record:
            self.record.follow(self.schedule, self.nimg)

    def _finish(self) -> None:
        self._show("drawing and saving")
        self.program.close()
        stopped = not self._is_done()
        if stopped:
            self._save(wait=True)
        self.checkpoints.wait()
        if self.record is None:
            return
        if stopped:
            if self.stop.time_is_up:
                self.record.draw_stop(self.program, self.state, self.nimg)
            self.record.print_stop(self.nimg, self.stop.reason)
        else:
            self.record.print_end(self.nimg)
        self.record.close()

    def _check_skipped(self, in_row: jax.Array) -> None:
        """Ends the run if the loop on the device has given up."""
        limit = self.config.train.max_skipped
        if int(in_row) < limit:
            return
        self.nimg = self.schedule.nimg_after(int(self.state.pairs))
        self._save(wait=True)
        if self.record:
            self.record.close()
        raise DivergedError(
            f"stopped at {format_kimg(self.nimg / 1000)} kimg: {limit} updates in a "
            "row had a loss or gradient that is not finite "
            f"(config.train.max_skipped = {limit}); "
            "none was applied, and the state is saved in "
            f"{self.workdir / 'checkpoints'}; look at Health/skipped and Loss/* in "
            f"{self.workdir / 'stats.jsonl'}, then lower the learning rates in a new "
            "workdir, or run the same command to try again"
        )

    def _save(self, wait: bool = False) -> None:
        if self.record is None:
            return
        self.record.folder.check()
        known, begun = self.schedule.recorded, max(self.nimg, 1)
        stages = [
            s for s in self.schedule.stages() if s.start_nimg < begun or s in known
        ]
        meta = {
            "resolution": self.program.resolution,
            "stages": [dataclasses.asdict(stage) for stage in stages],
            "ended_nimg": self.schedule.ended_nimg,
            "plateau_evaluations": self.config.schedule.plateau_evaluations,
            "origin": self.origin,
            "total_sec": self.record.total_sec,
        }
        self.checkpoints.save(self.nimg, self.state, meta, wait=wait)

    def _show(self, doing: str) -> None:
        """Says what is done at the program's resolution."""
        side = f"{self.program.resolution}x{self.program.resolution}"
        self.tell(f"{doing} {side}")
        if self.record:
            text = side if doing == "training" else f"{doing} {side}"
            self.record.bar.update(self.nimg, text)

    def _program(self, resolution: int) -> StageProgram:
        return StageProgram(
            self.config, self.schedule, resolution, self.mesh, self.pyramid.label_counts
        )

    def _abstract_state(self, meta: dict) -> TrainState:
        return self._program(meta["resolution"]).abstract_state()

    def _open_record(self, folder: RunFolder | None, total_sec: float) -> Record | None:
        if folder is None:
            return None
        return Record(
            self.config,
            self.schedule,
            folder,
            self.mesh,
            self.pyramid,
            self.nimg,
            total_sec,
            self.origin,
        )


def check_restored(
    config: ml_collections.ConfigDict,
    meta: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
) -> None:
    """Checks that the metadata of a checkpoint match its state.

    Args:
      config: Configuration of the run.
      meta: As `_Run` saves it, and "nimg", the number of images shown.
      arrays: Arrays of the state, by name.

    Raises:
      Exception: of any kind, if they do not match or are malformed.
    """
    nimg = meta["nimg"]
    _check_key(config, nimg, arrays["key"])
    schedule = make_schedule(config, *_recorded(meta))
    # A run that was shortened since would have no stages for all of its pairs.
    longest = max(schedule.total_kimg, nimg / 1000)
    schedule = dataclasses.replace(schedule, total_kimg=longest)
    shown = schedule.nimg_after(int(arrays["pairs"]))
    resolution = schedule.stage_at(max(nimg - 1, 0)).resolution
    if (shown, resolution) != (nimg, meta["resolution"]):
        raise ValueError(f"its state has seen {shown} images at {resolution}")
    if not isinstance(meta["total_sec"], int | float):
        raise ValueError(f"its total_sec is {meta['total_sec']!r}")
    dict(meta.get("origin", {}))


def _check_key(config: Any, nimg: int, key: np.ndarray) -> None:
    """Refuses another seed's state: training would continue with the wrong key."""
    _, key_steps = split_key(jax.random.key(config.seed))
    own = jax.random.key_data(key_steps)
    if not np.array_equal(key, own):
        raise UserError(
            f"--workdir: checkpoint {nimg} has the random key of another run, whose "
            f"seed was not config.seed = {config.seed}; remove it, or restore the "
            "run's own checkpoint"
        )


def _recorded(meta: Mapping[str, Any]) -> tuple[tuple[Stage, ...], int]:
    """Returns the stages begun so far, and nimg where the run has ended, or 0."""
    stages = tuple(Stage(**stage) for stage in meta["stages"])
    return stages, int(meta.get("ended_nimg", 0))
