"""Ten minutes of training on one device, unattended: `python -m benchmarks.short_run`.

    python -m benchmarks.short_run RECIPE --data=FILE --out=DIR [-- --config.F=VALUE]

RECIPE is cifar10, the paper's, or stylegan_xl, which is stylegan_xl:cifar10,tiny with
larger batches. FILE is a zip file of benchmarks.pack_images. Prepares it, compiles and
measures every stage, fits the schedule into the time that is left, and trains, each by
the project's own functions. DIR is a new or an empty folder; it gets at most 8 files of
16 MiB each, 64 MiB in all:

    report.html, figures.png    curves and grids; the metrics by images and by time
    fakes.png                   the newest grid
    short_run.json              the pace of the stages, and how long the steps took
    snapshots.tar               the newest and the best snapshot, and grids
    run.tar.0, run.tar.1, ...   the run's record and newest checkpoint, to go on from

    --minutes=9      after which it has ended, whatever fails
    --from=DIR       continues the run of an earlier DIR, for as long
"""

import json
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from absl import flags

from benchmarks import short_plan
from benchmarks.carried import pack, unpack
from benchmarks.deadlines import Budget, process_seconds
from benchmarks.processes import ask, stop_by_signals, supervise
from progan_jax.display.pictures import list_grids
from progan_jax.errors import UserError, reason
from progan_jax.files import write_json, writing_to
from progan_jax.runtime.command_line import run_with_overrides
from progan_jax.training.config import make_schedule
from progan_jax.training.fitting import Pace

DATA = flags.DEFINE_string("data", None, "Zip file of images.")
OUT = flags.DEFINE_string("out", None, "New folder for what is left.")
MINUTES = flags.DEFINE_float("minutes", 9.0, "Time after which it has ended.", 2, 600)
FROM = flags.DEFINE_string("from", None, "Folder that an earlier short run left.")

RECORD = "short_run.json"

# Seconds at the end: in which a run saves and draws when its time is up, before it gets
# SIGTERM; before it is killed; in which curves are drawn; and files are written.
_SAVE, _GRACE, _DRAW, _WRITE = 15.0, 10.0, 15.0, 5.0
_MEASURED = 0.05  # Share of the time in which all stages are measured.


def main(recipe: str, overrides: Sequence[str]) -> None:
    """Runs all steps, and writes what they leave."""
    budget = Budget(60 * MINUTES.value, taken=process_seconds())
    data, out = _check_paths()
    stop, signals = stop_by_signals()
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        work = Path(folder)
        given = recipe, overrides, work / "data"
        config, pace = short_plan.new_config(*given), None
        if FROM.value:
            unpack(Path(FROM.value), work / "run")
            config = short_plan.run_config(*given, work / "run")
            pace = read_pace(Path(FROM.value), make_schedule(config).resolutions)
        steps = _Steps(work, out, budget, stop)
        try:
            steps.prepare(data)
            steps.train(recipe, overrides, config, pace)
        finally:
            steps.leave(recipe)
    if signals:
        sys.exit(128 + signals[0])
    sys.exit(0 if steps.done else 1)


def _check_paths() -> tuple[Path, Path]:
    """Returns the file of images, and the folder, which is made.

    Raises:
      UserError: if either cannot be used.
    """
    for flag in (DATA, OUT):
        if not flag.value:
            raise UserError(f"--{flag.name} is missing: see --help")
    data, out = Path(DATA.value or ""), Path(OUT.value or "")
    if not data.is_file():
        raise UserError(
            f"--data={data}: there is no such file; python -m benchmarks.pack_images "
            "writes one"
        )
    with writing_to("--out", out):
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise UserError(f"--out={out}: it is not empty; choose a new folder")
    return data, out


class _Steps:
    """The steps of a short run, each a process of its own.

    Attributes:
      done: Whether the run was trained to its end, or until its time was over, and can
        continue from what was left.
    """

    def __init__(
        self, work: Path, out: Path, budget: Budget, stop: threading.Event
    ) -> None:
        self.done = False
        self._work, self._run, self._out = work, work / "run", out
        self._budget, self._stop = budget, stop
        self._record: dict[str, Any] = {"minutes": MINUTES.value, "steps": {}}

    @property
    def _left(self) -> float:
        """Seconds until training must end."""
        return self._budget.left - _SAVE - _GRACE - _DRAW - _WRITE

    def prepare(self, data: Path) -> None:
        """Prepares the images.

        Raises:
          UserError: if that fails; its command has printed why.
        """
        where = f"--name={short_plan.SET}", f"--out={self._work / 'data'}"
        command = "progan_jax.tools.prepare_data", f"zip:{data}", "--resolution=32"
        if self._supervise(0, "prepare", *command, *where) == "failed":
            raise UserError(f"--data={data}: it cannot be prepared; name another file")

    def train(
        self,
        recipe: str,
        overrides: Sequence[str],
        config: Any,
        pace: Mapping[int, Pace] | None,
    ) -> None:
        """Fits the schedule, and trains.

        Args:
          recipe: Name of the recipe.
          overrides: The user's --config.FIELD=VALUE.
          config: Of the run; its schedule is changed.
          pace: Of an earlier short run, which is continued; None for a new one.
        """
        if pace:
            nimg = short_plan.reached(self._run)
            short_plan.fit_longer(config, pace, nimg, self._left)
        elif pace := self._measure(config):
            short_plan.fit_new(recipe, overrides, config, pace, self._left)
        if self._stop.is_set() or not pace:
            return
        self._record["pace"] = {r: astuple(of) for r, of in pace.items()}
        file = self._work / "config.json"
        write_json(file, config.to_dict())
        given = str(file), str(self._run), f"{max(self._left, 0):.1f}"
        status = self._supervise(_SAVE, "train", "benchmarks.short_train", *given)
        self.done = status != "failed"

    def leave(self, recipe: str) -> None:
        """Draws the curves, and writes what the run leaves, if it has begun."""
        if not self._run.exists():
            return
        figures = [f"--runs={self._run}", f"--out={self._work}"]
        self._stop.clear()
        draw = "progan_jax.tools.figures"
        if (self._run / "metrics.jsonl").exists():
            supervise(_module(draw, *figures), _DRAW, 0, self._stop)
        fakes = self._work / "fakes.png"
        if grids := list_grids(self._run / "grids"):
            fakes.write_bytes(grids[-1].path.read_bytes())
        self._record |= {
            "recipe": recipe,
            "reached_kimg": short_plan.reached(self._run) / 1000,
            "took_sec": round(self._budget.taken, 1),
        }
        write_json(self._work / RECORD, self._record)
        beside = [self._work / RECORD, self._run / "report.html", fakes]
        left_out = pack(self._run, [*beside, self._work / "figures.png"], self._out)
        for name in left_out:
            print(f"left out, as there is no room: {name}")
        self.done = self.done and not any("checkpoints/" in name for name in left_out)
        for path in sorted(self._out.iterdir()):
            print(f"{path.stat().st_size / 2**20:6.2f} MiB  {path}")

    def _measure(self, config: Any) -> dict[int, Pace]:
        """Returns the pace of every stage; none if the command is ended.

        Raises:
          UserError: if a stage could not be measured.
        """
        resolutions = make_schedule(config).resolutions
        seconds = 60 * MINUTES.value * _MEASURED / len(resolutions)
        request = {"config": config.to_dict(), "seconds": seconds}
        before = self._budget.taken
        outcome = ask(_module("benchmarks.pace"), request, self._left, {}, self._stop)
        self._note("measure", outcome.status, before)
        pace = _pace(outcome.answer)
        for r, of in pace.items():
            rate = f"{1 / of.image_sec:,.0f} images/s"
            print(f"{r}x{r}: {rate}, compiled in {of.compile_sec:.0f} s", flush=True)
        if self._stop.is_set():
            return {}
        if len(pace) < len(resolutions):
            raise UserError(
                f"--minutes={MINUTES.value:g}: {len(pace)} of {len(resolutions)} "
                "stages could be compiled and measured "
                f"({outcome.error or outcome.status}); fix that, or raise it"
            )
        return pace

    def _supervise(self, longer: float, name: str, module: str, *arguments: str) -> str:
        """Runs a step for at most `longer` seconds more than are left."""
        before = self._budget.taken
        command, seconds = _module(module, *arguments), max(self._left, 0) + longer
        status = supervise(command, seconds, _GRACE, self._stop)
        self._note(name, status, before)
        return status

    def _note(self, name: str, status: str, before: float) -> None:
        seconds = round(self._budget.taken - before, 1)
        self._record["steps"][name] = {"status": status, "seconds": seconds}
        print(f"{name}: {status}, {seconds:.0f} s", flush=True)


def read_pace(folder: Path, resolutions: Sequence[int]) -> dict[int, Pace]:
    """Returns the pace that an earlier short run measured.

    Raises:
      UserError: if its record has none of every stage.
    """
    path = folder / RECORD
    try:
        pace = _pace(json.loads(path.read_text())["pace"])
        return {r: pace[r] for r in resolutions}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"--from={folder}: {path.name} has no pace of every stage "
            f"({reason(error)}); name the folder with all files that a short run left"
        ) from error


def _pace(answer: Mapping[str, Any]) -> dict[int, Pace]:
    return {int(r): Pace(*values) for r, values in answer.items()}


def _module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", name, *arguments]


if __name__ == "__main__":
    run_with_overrides(main, "RECIPE")
