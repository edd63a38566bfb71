"""Publication of snapshots: by command, or of a run's best one while it trains."""

import shlex
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import gettempdir
from threading import Thread
from typing import Any

from progan_jax.configs import base
from progan_jax.errors import UserError, reason, warn
from progan_jax.files import parse_record, seal, working_folder, write_json
from progan_jax.inference.hub import SCHEME, create, parse_address, upload
from progan_jax.inference.publish import (
    licence_identifier,
    settle_licence,
    write_publication,
)
from progan_jax.inference.snapshot import BEST, digest, find_snapshot, read_info
from progan_jax.metrics.ranking import mark_of_metric
from progan_jax.metrics.scoreboard import Scoreboard
from progan_jax.models.families import DEFAULT, FAMILIES
from progan_jax.runtime.command_line import list_fields

FIELD = "config.train.push_to_hub"

_PREFIX = "progan_jax_publish_"  # Of temporary folders.


def publish(
    snapshot: Path, out: str, licence: Mapping[str, Any], with_trained: bool = False
) -> str:
    """Publishes a snapshot and returns the folder or the address.

    Args:
      snapshot: The snapshot's folder.
      out: Folder or zip file to create, or hf://USER/NAME.
      licence: As returned by `settle_licence`.
      with_trained: Whether G and D of the training are published as well.

    Raises:
      UserError: as for `write_publication` and `upload`, or if the place exists.
    """
    if "://" in out:
        parse_address("OUT", out)
        with working_folder(Path(gettempdir()), _PREFIX) as parent:
            folder = parent / "model"
            _write(snapshot, folder, licence, out, with_trained)
            return upload("OUT", out, folder)
    place = Path(out)
    if place.exists():
        raise UserError(f"OUT={out} already exists; choose another place")
    place.parent.mkdir(parents=True, exist_ok=True)
    with working_folder(place.parent, ".publish") as parent:
        folder = parent / "model"
        _write(snapshot, folder, licence, f"path/to/{place.name}", with_trained)
        if place.suffix == ".zip":
            folder = Path(shutil.make_archive(str(folder), "zip", folder))
        folder.rename(place)
    return out


def _write(
    snapshot: Path,
    folder: Path,
    licence: Mapping[str, Any],
    source: str,
    with_trained: bool = False,
) -> None:
    weights, info = digest(snapshot), read_info(snapshot)
    # The run's folder, if the snapshot is in RUN/snapshots/.
    records = Scoreboard(snapshot.absolute().parent.parent).records()
    frozen = info.get("frozen_files", {})
    write_publication(
        snapshot,
        folder,
        licence,
        title=source.rpartition("/")[2],
        source=source,
        with_trained=with_trained,
        records=[
            record | {"mark": mark_of_metric(record["metric"], frozen)}
            for record in records
            if record.get("sha256") == weights
        ],
        base=_base_fields(info),
    )


def _base_fields(info: Mapping[str, Any]) -> dict[str, Any] | None:
    family = info.get("family", DEFAULT)
    return list_fields(base.get_config(family)) if family in FAMILIES else None


class BestOnHub:
    """Keeps a repository of the Hub at a run's best snapshot.

    Files are written when a snapshot is offered, and uploaded in a thread, one snapshot
    at a time. hub.json in the run's folder notes what was uploaded last: whatever
    fails or is cut short is tried again when the next one is offered. Nothing that
    fails ends the run.
    """

    def __init__(
        self,
        workdir: Path,
        repository: str,
        licence: str,
        origin: Mapping[str, Any],
        say: Callable[[str], None],
    ) -> None:
        """Creates the repository, private, unless the run has used it before.

        Args:
          workdir: The run's folder.
          repository: USER/NAME.
          licence: See `settle_licence`; "" for that of the origin.
          origin: Description of the networks that the run started from.
          say: Prints a line.

        Raises:
          UserError: if there is no licence, or the Hub refuses the repository.
        """
        self._workdir, self._address, self._say = workdir, f"{SCHEME}{repository}", say
        self._licence = settle_licence(
            origin, licence or None, "config.train.hub_licence"
        )
        self._owned = "licence" in origin
        self._thread: Thread | None = None
        self._note = workdir / "hub.json"
        noted = parse_record(self._note.read_bytes()) if self._note.exists() else None
        if (noted or {}).get("repository") == repository:
            self._uploaded = (noted or {}).get("sha256", "")
        else:
            create(FIELD, self._address, private=True)
            self._remember("", "")

    def offer(self) -> None:
        """Starts to upload the best snapshot, unless it is there or another goes."""
        if self._thread is not None and self._thread.is_alive():
            return
        try:
            self._start()
        except Exception as error:  # Training matters more than its copies.
            warn(f"{FIELD}: the best snapshot cannot be published ({reason(error)})")

    def close(self) -> None:
        """Waits for an upload, and uploads the best snapshot if it was another one."""
        self._wait()
        self.offer()
        self._wait()

    def _wait(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def _start(self) -> None:
        if not (self._workdir / "snapshots" / BEST).exists():
            return
        best = find_snapshot(self._workdir, BEST)
        if digest(best) == self._uploaded:
            return
        with ExitStack() as stack:
            parent = stack.enter_context(working_folder(Path(gettempdir()), _PREFIX))
            _write(best, parent / "model", self._licence, self._address)
            arguments = best, parent / "model", stack.pop_all()
        self._thread = Thread(target=self._upload, args=arguments, daemon=True)
        self._thread.start()

    def _upload(self, snapshot: Path, folder: Path, stack: ExitStack) -> None:
        with stack:
            try:
                url = upload(FIELD, self._address, folder, private=True)
            except Exception as error:
                warn(f"{error}; to upload it later: {self._command(snapshot)}")
                return
        self._remember(digest(snapshot), snapshot.name)
        self._say(f"{snapshot.name}, the best so far, is published as {url}")

    def _command(self, snapshot: Path) -> str:
        """Returns the command that publishes a snapshot."""
        command = ["progan_jax", "publish", str(self._workdir), self._address]
        command.append(f"--snapshot={snapshot.name}")
        if not self._owned:
            command.append(f"--licence={licence_identifier(self._licence)}")
        return shlex.join(command)

    def _remember(self, sha256: str, snapshot: str) -> None:
        self._uploaded = sha256
        repository = self._address.removeprefix(SCHEME)
        note = {"repository": repository, "snapshot": snapshot, "sha256": sha256}
        with suppress(OSError):  # It is only uploaded again.
            write_json(self._note, seal(note))
