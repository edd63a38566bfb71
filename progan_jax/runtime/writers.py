"""Where the rows and grids of a run go besides its own files: TensorBoard, W&B.

A writer has the form of clu's `MetricWriter`, of which a run calls three methods. A new
one is a function that opens it, and its line in `WRITERS`.
"""

import importlib.util
import os
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from progan_jax.errors import UserError, reason, warn
from progan_jax.files import parse_record, seal, write_json

FIELD = "config.train.writers"

# The scalars of a tick by name, those of stats.jsonl: None for what is not finite.
Row = Mapping[str, Any]

NIMG = "Progress/nimg"  # The step of a row.


class Writer(Protocol):
    """What a run needs of a writer."""

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Takes the scalars of a tick, by name, after `step` images."""
        ...

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Takes images uint8 [N, H, W, C] by name."""
        ...

    def close(self) -> None:
        """Sends or writes what is pending."""
        ...


class TensorBoard:
    """Scalars in event files under tb/, written anew at each start.

    Event files cannot be cut. Grids are not among them: grids/ has all.
    """

    def __init__(self, workdir: Path, rows: Sequence[Row]) -> None:
        """Writes the rows that there are."""
        from clu import metric_writers

        folder = workdir / "tb"
        shutil.rmtree(folder, ignore_errors=True)
        self._writer = metric_writers.SummaryWriter(str(folder))
        for row in rows:
            self.write_scalars(int(row[NIMG]), row)

    def write_scalars(self, step: int, scalars: Row) -> None:
        """Writes a row to the disk."""
        self._writer.write_scalars(step, _numbers(scalars))
        self._writer.flush()

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Leaves them out."""

    def close(self) -> None:
        """Closes the files."""
        self._writer.close()


class WeightsAndBiases:
    """One run of Weights & Biases for all starts of a run.

    Its identity, and the last step that was handed over, are in wandb/progan_jax.json:
    a start hands over what is missing there, and no step twice. The library's own
    variables choose everything else: WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE.
    """

    def __init__(
        self, workdir: Path, rows: Sequence[Row], config: Mapping[str, Any]
    ) -> None:
        """Opens the run and hands over the rows that it lacks.

        Raises:
          UserError: if the library cannot open it.
        """
        import wandb

        self._note = workdir / "wandb" / "progan_jax.json"
        self._note.parent.mkdir(exist_ok=True)
        noted = parse_record(self._note.read_bytes()) if self._note.exists() else None
        self._id, self._sent = _read_note(noted or {})
        self._image = wandb.Image
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT") or "progan_jax",
                id=self._id,
                name=workdir.absolute().name,
                dir=str(workdir),
                resume="allow",
                config=dict(config),
                allow_val_change=True,
                # It would put itself between the run and its terminal.
                settings=wandb.Settings(console="off"),
            )
        except Exception as error:  # Its own, and those of what it starts.
            raise _refused("wandb", reason(error)) from error
        self._run.define_metric("*", step_metric="Progress/kimg")
        for row in rows:
            self.write_scalars(int(row[NIMG]), row)

    def write_scalars(self, step: int, scalars: Row) -> None:
        """Hands over a row."""
        self._log(step, _numbers(scalars))

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Hands over images, with the number of images shown in thousands."""
        shown = {n: [self._image(i) for i in batch] for n, batch in images.items()}
        self._log(step, {"Progress/kimg": step / 1000, **shown})

    def close(self) -> None:
        """Ends the run, which waits until everything is sent."""
        self._run.finish()

    def _log(self, step: int, values: Mapping[str, Any]) -> None:
        if step > self._sent and not self._run.disabled:
            self._run.log(dict(values), step=step)
            write_json(self._note, seal({"id": self._id, "nimg": step}))


def _read_note(note: Mapping[str, Any]) -> tuple[str, int]:
    """Returns the identity of the run, and the last step handed over."""
    return str(note.get("id") or secrets.token_hex(8)), int(note.get("nimg", -1))


def _open_tensorboard(
    workdir: Path, rows: Sequence[Row], config: Mapping[str, Any]
) -> Writer | None:
    """Opens TensorBoard's files; None unless its two libraries are installed."""
    del config
    needed = ("tensorflow", "tensorboard")
    found = all(map(importlib.util.find_spec, needed))
    return TensorBoard(workdir, rows) if found else None


Opener = Callable[[Path, Sequence[Row], Mapping[str, Any]], Writer | None]

WRITERS: dict[str, Opener] = {
    "tensorboard": _open_tensorboard,
    "wandb": WeightsAndBiases,
}


class Writers:
    """The writers of a run; one that fails is left out, with a warning."""

    def __init__(
        self,
        names: str,
        workdir: Path,
        rows: Sequence[Row],
        config: Mapping[str, Any],
    ) -> None:
        """Opens the writers.

        Args:
          names: See `parse_writers`.
          workdir: The run's folder.
          rows: The rows of the run so far, oldest first.
          config: Configuration of the run, as nested dictionaries.

        Raises:
          UserError: if one cannot be opened.
        """
        opened = {n: WRITERS[n](workdir, rows, config) for n in parse_writers(names)}
        self._writers = {n: writer for n, writer in opened.items() if writer}

    def write_scalars(self, step: int, scalars: Row) -> None:
        """Gives all writers the scalars of a tick."""
        self._each(lambda writer: writer.write_scalars(step, scalars))

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Gives all writers images uint8 [N, H, W, C] by name."""
        self._each(lambda writer: writer.write_images(step, images))

    def close(self) -> None:
        """Closes all writers."""
        self._each(lambda writer: writer.close())

    def _each(self, action: Callable[[Writer], None]) -> None:
        for name, writer in list(self._writers.items()):
            try:
                action(writer)
            except Exception as error:  # Training matters more than its copies.
                del self._writers[name]
                warn(
                    f"{FIELD}: {name} has failed ({reason(error)}) and is left out "
                    "until the next start; stats.jsonl and grids/ have everything"
                )


def parse_writers(names: str) -> list[str]:
    """Returns the writers in a text, separated by commas.

    Raises:
      UserError: if there is an unknown one.
    """
    found = list(dict.fromkeys(filter(None, map(str.strip, names.split(",")))))
    if unknown := [name for name in found if name not in WRITERS]:
        raise UserError(
            f"{FIELD} = {names!r}: there is no writer {unknown[0]!r}; choose from "
            f"{', '.join(WRITERS)}, or '' for none"
        )
    return found


def check_writers(names: str) -> None:
    """Checks, before a run begins, what it needs to reach Weights & Biases.

    Raises:
      UserError: if the library is not installed, or has no key and is to be online.
    """
    if "wandb" not in parse_writers(names):
        return
    try:
        import wandb
    except ImportError as error:
        raise _refused("wandb", "it is not installed") from error
    try:
        online = wandb.setup().settings.mode == "online"
        # Without a question: nobody may be there to answer it.
        if online and not wandb.login(prompt=False, verify=False):
            raise _refused("wandb", "it has no API key")
    except wandb.Error as error:
        raise _refused("wandb", reason(error)) from error


def _refused(name: str, problem: str) -> UserError:
    return UserError(
        f"{FIELD} = {name!r} cannot be used: {problem}; pip install "
        "wandb and log in by 'wandb login', set WANDB_MODE=offline, or "
        "leave it out"
    )


def _numbers(row: Row) -> dict[str, float]:
    return {name: value for name, value in row.items() if value is not None}
