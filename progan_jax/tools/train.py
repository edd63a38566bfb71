"""Trains on a folder of images for a time: prepares it, chooses a recipe, trains.

    python -m progan_jax.tools.train PHOTOS [--minutes=20] [--family=stylegan]
        [--resolution=64] [--workdir=runs/NAME] [--config.FIELD=VALUE ...]

PHOTOS is a folder or a zip file of PNG, JPEG, WebP and BMP files, with a folder for
each class if there are several, or a set that tools.prepare_data has written. The
prepared images lie in WORKDIR_data. Family, resolution, widths, augmentation and length
are chosen by the number and the size of the images, the devices and the time, of which
a part measures how fast the devices are. The choice is written to WORKDIR.py, a recipe
that --config takes. After a stop, and after the end, the same command goes on for the
same time. Without --minutes and --hours it trains an hour on CPUs, and else eight.
What cannot be interrupted, such as a compilation, is given up a little after the time;
the exit code is 1 then if nothing was trained yet.
"""

import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any

from absl import flags

from progan_jax.data.prepared import is_pyramid
from progan_jax.display.film import write_film
from progan_jax.display.frames import timelapse_frames
from progan_jax.display.pictures import list_grids
from progan_jax.errors import UserError
from progan_jax.files import check_utf_8, local_folder
from progan_jax.models.common import RESOLUTIONS
from progan_jax.prepare.photos import Images, Photos, check_colours, look_at_set
from progan_jax.runtime.command_line import load_config, run_with_overrides
from progan_jax.runtime.newest import read_newest
from progan_jax.runtime.preemption import end_in_a_line, ending_in_a_line
from progan_jax.runtime.xla_log import keep_xla_quiet
from progan_jax.training.choice import (
    FEWEST,
    check_number,
    choose_config,
    choose_family,
    choose_resolution,
    describe,
    override,
    write_recipe,
)

FAMILY = flags.DEFINE_enum("family", None, list(FEWEST), "Family of models.")

MINUTES = flags.DEFINE_float("minutes", None, "Time of the whole command, in minutes.")

HOURS = flags.DEFINE_float("hours", None, "Time of the whole command, in hours.")

RESOLUTION = flags.DEFINE_integer("resolution", None, "Side of the images.")

WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; runs/NAME_OF_PHOTOS by default."
)

# Of the fields that decide how images are prepared and which recipe is chosen.
_FLAG_OF = {"family": "--family", "model.resolution": "--resolution"}

_HOURS_ON_CPU, _HOURS = 1.0, 8.0

# Training's share of the time that is left when it starts; grids and checkpoints take
# the rest. If compiling has taken most of the time, the schedule is for this share of
# all of it, and the next call goes on.
_TRAINING, _LEAST = 0.9, 0.5

# A run that ends with more than this share of the time left is made longer.
_SPARE = 0.15

# The end, which saves and draws: a share of the whole time, and seconds.
_END, _END_SEC = 0.03, 5.0

# How a signal after training ends the command: with code 0, as one in training does.
_SAVED = "all is saved; the same command continues", 0

# Times the whole time: whatever is done then is given up. XLA cannot be interrupted.
_GIVEN_UP = 1.04

# Each stage is measured for this share of the time, and at most so many seconds.
_MEASURED, _MOST_MEASURED = 1 / 100, 15.0


def main(photos: str, overrides: list[str]) -> None:
    """Prepares, chooses and trains, or continues."""
    started = time.monotonic()
    keep_xla_quiet()
    import jax

    from progan_jax.runtime.compiler import keep_compiled

    on_cpu = jax.default_backend() == "cpu"
    seconds = _read_time(on_cpu)
    _check_resolution()
    _check_flags(overrides)
    keep_compiled()
    session = _Session(photos, overrides, on_cpu, seconds, started)
    with session.ending_in_time():
        with ending_in_a_line("the same command continues"):
            config = session.configure()
        session.train(config)


def _read_time(on_cpu: bool) -> float:
    """Returns the seconds of --minutes or --hours.

    Raises:
      UserError: if both are given, or the time is out of range.
    """
    if MINUTES.value is not None and HOURS.value is not None:
        raise UserError("--minutes and --hours exclude each other; give one of them")
    hours = HOURS.value or (_HOURS_ON_CPU if on_cpu else _HOURS)
    minutes = 60 * hours if MINUTES.value is None else MINUTES.value
    flag = _time_flag()
    if HOURS.value == 0 or not 1 <= minutes <= 60 * 24 * 365:
        value = (HOURS if flag == "--hours" else MINUTES).value
        raise UserError(
            f"{flag}={value:g} must be from one minute to a year; change it"
        )
    return 60 * minutes


def _time_flag() -> str:
    return "--hours" if HOURS.value is not None else "--minutes"


def _check_resolution() -> None:
    side = RESOLUTION.value
    if side is not None and side not in RESOLUTIONS[1:]:
        raise UserError(
            f"--resolution={side} must be a power of two from 8 to 1024; change it"
        )


def _check_flags(overrides: Sequence[str]) -> None:
    """Raises UserError if a field is given that only a flag of the command can set."""
    for text in overrides:
        field, _, value = text.partition("=")
        if flag := _FLAG_OF.get(field.removeprefix("--config.")):
            raise UserError(f"{text}: train chooses it; write {flag}={value}")


class _Session:
    """One call of the command."""

    def __init__(
        self,
        photos: str,
        overrides: Sequence[str],
        on_cpu: bool,
        seconds: float,
        started: float,
    ) -> None:
        from progan_jax.training.workdir import CONFIG

        if photos.startswith(("hf:", "tfds:", "lmdb:", "folder:", "zip:")):
            raise UserError(
                f"PHOTOS={photos}: name a folder or a zip file of images; prepare "
                "other sources by progan_jax prepare_data, and name what it writes"
            )
        if not photos:
            raise UserError("PHOTOS is empty; name a folder or a zip file of images")
        path = Path(os.path.abspath(local_folder("PHOTOS", photos)))
        if not path.exists():
            raise UserError(f"PHOTOS={photos}: there is no {path}; name another")
        name = path.name.removesuffix(".zip")
        workdir = local_folder("--workdir", WORKDIR.value or f"runs/{name}")
        if path in Path(os.path.abspath(workdir)).parents and not is_pyramid(path):
            raise UserError(
                f"--workdir={workdir} lies in PHOTOS, and its pictures would be taken "
                f"for images of the set; choose a folder outside of {path}"
            )
        if workdir.exists() and not workdir.is_dir():
            raise UserError(f"--workdir={workdir} is a file; choose a folder")
        if (path / CONFIG).exists():
            raise UserError(
                f"PHOTOS={photos}: it is the folder of a run; name the images that the "
                "run was begun with"
            )
        self._photos, self._overrides, self._on_cpu = path, overrides, on_cpu
        self._seconds, self._end = seconds, started + seconds
        self._workdir = workdir.absolute()
        self._doing = "reading the images"
        check_utf_8("--workdir", str(self._workdir))

    def _tell(self, doing: str) -> None:
        self._doing = doing

    def configure(self) -> Any:
        """Returns the run's configuration; prepares and measures what a run needs."""
        from progan_jax.training.workdir import CONFIG

        if not (self._workdir / CONFIG).exists():
            return self._begin(*self._prepare(FAMILY.value, RESOLUTION.value))
        folder, *_ = self._prepare(*self._check_kept())
        return self._continue(folder)

    def train(self, config: Any) -> None:
        """Trains until the time is up, and prints what there is to see.

        If the devices were faster than when they were measured, the run is made longer.
        """
        from progan_jax.train import train

        deadline, todo = self._end - _END * self._seconds - _END_SEC, config
        while todo is not None:
            signal = train(todo, self._workdir, deadline, self._tell)
            if signal and self._has_ended(todo):  # After the last tick.
                end_in_a_line(signal, *_SAVED)
            with ending_in_a_line(*_SAVED):
                todo = self._longer(todo)
        with ending_in_a_line(*_SAVED):
            self._print_end()

    def _longer(self, config: Any) -> Any:
        """Returns the configuration of a run that is made longer; None if it is not."""
        if not self._has_ended(config) or self._left() <= _SPARE * self._seconds:
            return None
        config = self._continue()
        # It may have the length that the user gave.
        return None if self._has_ended(config) else config

    def _has_ended(self, config: Any) -> bool:
        """Returns whether the schedule has ended, rather than a signal the run."""
        from progan_jax.runtime.logging import last_nimg
        from progan_jax.training.config import make_schedule

        shown = last_nimg(self._workdir / "stats.jsonl")
        return shown >= make_schedule(config).end_nimg()

    def _left(self) -> float:
        return self._end - time.monotonic()

    @contextmanager
    def ending_in_time(self) -> Iterator[None]:
        """Ends the process if something takes longer than the time.

        Nothing is lost: what is compiled is kept, and before a stage is compiled the
        state is saved.
        """
        left = self._left() + (_GIVEN_UP - 1) * self._seconds
        timer = Timer(max(left, 0), self._give_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _give_up(self) -> None:
        """Ends the process, with code 1 if the run has nothing that was trained."""
        has_trained = bool(read_newest(self._workdir / "checkpoints"))
        nothing = "" if has_trained else "nothing is trained yet; "
        line = (
            f"time is up while {self._doing}: {nothing}all that was saved is kept; run "
            f"the same command with more {_time_flag()} to continue"
        )
        try:
            sys.stdout.flush()
            print(line, file=sys.stderr, flush=True)
        finally:  # Whoever read the output may be gone.
            os._exit(0 if has_trained else 1)

    def _check_kept(self) -> tuple[str, int]:
        """Returns family and resolution of the folder's run.

        Raises:
          UserError: if --family or --resolution are not those that it was begun with.
        """
        from progan_jax.training.workdir import read_config

        config = read_config(self._workdir, "--workdir")
        kept = ((FAMILY, config.family), (RESOLUTION, config.model.resolution))
        for flag, value in kept:
            if flag.value not in (None, value):
                raise UserError(
                    f"--{flag.name}={flag.value}: the run in {self._workdir} was begun "
                    f"with {value}; leave it out, or choose another --workdir"
                )
        return config.family, config.model.resolution

    def _prepare(
        self, family: str | None, side: int | None
    ) -> tuple[Path, Images, str, int]:
        """Returns the prepared set, what is known of its images, family and side.

        Args:
          family: Family of models; None to choose it by the images.
          side: Resolution to train at; None to choose it by images and time.
        """
        from progan_jax.training.workdir import check_unused

        photos = Photos(self._photos)
        check_unused(self._workdir)
        images = photos.look()
        family = family or choose_family(self._on_cpu, images.number)
        check_number(family, images)
        chosen = choose_resolution(family, images, self._on_cpu, self._seconds)
        self._check_fields(family)
        wanted = side or chosen
        folder = photos.prepare(Path(f"{self._workdir}_data"), wanted, self._tell)
        # Without the images that could not be read.
        images = look_at_set(folder)
        check_number(family, images)
        if (RESOLUTION.value or 0) > images.side:
            raise UserError(
                f"--resolution={wanted}: {folder} was prepared at {images.side}; lower "
                f"it, or {self._larger_set(folder)}"
            )
        return folder, images, family, min(images.side, wanted)

    def _check_fields(self, family: str) -> None:
        """Raises UserError, before any work, if a field is invalid by itself."""
        from progan_jax.evaluate import parse_metrics
        from progan_jax.train import check_accounts
        from progan_jax.training.start import check_initial
        from progan_jax.training.validation import field_faults

        config = load_config(f"base:{family}", self._overrides)
        config.data.name = self._photos.name  # Any name will do.
        if found := list(field_faults(config)):
            raise UserError(*found)
        parse_metrics(config.eval.metrics)
        check_accounts(config)
        check_initial(config)

    def _larger_set(self, folder: Path) -> str:
        """Returns what gives a larger set than that of a folder."""
        from progan_jax.training.workdir import CONFIG

        if folder == self._photos:
            return "name another set"
        if (self._workdir / CONFIG).exists():
            return "choose another --workdir"
        return "remove that folder to prepare the images again"

    def _begin(self, folder: Path, images: Images, family: str, side: int) -> Any:
        """Chooses, measures, fits and writes the configuration of a new run."""
        from progan_jax.runtime.compiler import set_precision
        from progan_jax.runtime.mesh import make_mesh, select_devices
        from progan_jax.training.fitting import fit, measure_pace
        from progan_jax.training.start import open_set
        from progan_jax.training.validation import validate

        recipe, config = choose_config(
            family, folder, images, side, self._on_cpu, self._overrides
        )
        mesh = make_mesh(select_devices(config.runtime.num_devices))
        validate(config, mesh.size)
        set_precision(config)
        pyramid = open_set(config)
        check_colours(self._photos, pyramid)
        pace, seconds = {}, min(_MEASURED * self._seconds, _MOST_MEASURED)
        print("measuring how fast each resolution trains", flush=True)
        for r, measured in measure_pace(config, pyramid, mesh, seconds, self._tell):
            pace[r] = measured
            print(
                f"  {r}x{r}: {1 / measured.image_sec:,.3g} img/s, compiled in "
                f"{measured.compile_sec:.1f} s",
                flush=True,
            )
        fit(config, pace, max(self._training_seconds(), _LEAST * self._seconds))
        config = override(config, recipe, self._overrides)
        self._write_choice(recipe, config)
        for name, value in describe(config).items():
            print(f"  {name:<13} {value}")
        return config

    def _continue(self, folder: Path | None = None) -> Any:
        """Returns the configuration of the folder's run, made longer."""
        from progan_jax.runtime.compiler import set_precision
        from progan_jax.runtime.logging import read_rows
        from progan_jax.training.fitting import image_sec_of_run, lengthen
        from progan_jax.training.workdir import read_config

        config = read_config(self._workdir, "--workdir")
        begun_with = Path(config.data.data_dir) / config.data.name
        if folder is not None and folder.resolve() != begun_with.resolve():
            raise UserError(
                f"PHOTOS={self._photos}: the run in {self._workdir} was begun with the "
                f"images in {begun_with}; choose another --workdir"
            )
        set_precision(config)
        rows = read_rows(self._workdir / "stats.jsonl")
        if rows:
            nimg, seconds = rows[-1]["Progress/nimg"], self._training_seconds()
            lengthen(config, image_sec_of_run(config, rows), nimg, seconds)
        # Those that a run keeps are compared by `train`.
        return override(config, f"base:{config.family}", self._overrides)

    def _training_seconds(self) -> float:
        return max(_TRAINING * self._left(), 1.0)

    def _write_choice(self, recipe: str, config: Any) -> None:
        path = Path(f"{self._workdir}.py")
        heading = (
            f"What progan_jax train chose for {self._photos.name}.\n\nCopy it to "
            "change it, and train the copy with\n    progan_jax --config=COPY.py\n"
        )
        try:
            write_recipe(path, recipe, config, heading)
        except OSError as error:
            raise UserError(
                f"--workdir: {path} cannot be written ({error.strerror}); choose "
                "another folder"
            ) from error
        print(f"chosen, and written to {path}:")

    def _print_end(self) -> None:
        """Draws the film and prints where everything is."""
        self._tell("drawing the film")
        run = shlex.quote(os.path.relpath(self._workdir))
        if (self._workdir / "report.html").exists():
            print(f"report: {self._workdir / 'report.html'}")
        if grids := list_grids(self._workdir / "grids"):
            film = self._workdir / "videos" / "timelapse.webp"
            write_film(film, timelapse_frames(grids, hold=1), fps=4)
            print(f"film: {film}")
        if (self._workdir / "snapshots").is_dir():
            print(f"draw more by: progan_jax sample {run} --num=64 --grid")


if __name__ == "__main__":
    run_with_overrides(main, "PHOTOS")
