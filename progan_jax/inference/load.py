"""Opens a trained generator by the name of a run, a snapshot, a file or a network."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from progan_jax.errors import UserError
from progan_jax.files import working_folder
from progan_jax.inference.generator import TrainedGenerator, open_snapshot
from progan_jax.inference.hub import SCHEME, download
from progan_jax.inference.snapshot import INFO, find_snapshot, write_snapshot
from progan_jax.models.families import import_network
from progan_jax.weights.kinds import check_kind

_SHIPPED = Path(__file__).parents[1] / "pretrained"


def load(
    source: str | os.PathLike[str], snapshot: str | None = None
) -> TrainedGenerator:
    """Returns a trained generator.

        g = progan_jax.load("runs/digits")
        images = g(np.random.default_rng(0).standard_normal((8, g.latent_dim)))

    Args:
      source: Name of a network that ships with this package; or a run's folder, of
        which the newest snapshot is taken; or a snapshot's folder; or a pickle of the
        authors' program, of which Gs is taken, no code in it being run; or
        hf://USER/NAME[@REVISION], a repository of the Hugging Face Hub.
      snapshot: Which of a run's snapshots, such as "000100.032_r032", or "best".

    Raises:
      UserError: if there is no such thing, or it cannot be read.
    """
    return open_generator(source, snapshot)


def open_generator(
    source: str | os.PathLike[str],
    snapshot: str | None = None,
    names: tuple[str, str] = ("source", "snapshot"),
) -> TrainedGenerator:
    """Does what `load` does, for tools whose users know the arguments by other names.

    Args:
      source: See `load`.
      snapshot: See `load`.
      names: By which the user gave source and snapshot, for the messages.

    Raises:
      UserError: if there is no such thing, or it cannot be read.
    """
    path = locate(source, snapshot, names)
    if path.is_dir():
        name = os.fspath(source)
        return open_snapshot(path, name.removeprefix(SCHEME) if "://" in name else None)
    return TrainedGenerator(*import_network(path, "Gs"), path.name)


def locate(
    source: str | os.PathLike[str],
    snapshot: str | None = None,
    names: tuple[str, str] = ("source", "snapshot"),
    with_trained: bool = False,
) -> Path:
    """Returns a snapshot's folder or an official file, downloaded if need be.

    Args:
      source: See `load`.
      snapshot: See `load`.
      names: See `open_generator`.
      with_trained: See `hub.download`.

    Raises:
      UserError: if there is no such thing.
    """
    name, field = os.fspath(source), names[0]
    path = _SHIPPED / name if name in list_shipped() else Path(name)
    try:
        path = path.expanduser()
        path.stat()
    except FileNotFoundError:
        pass
    # No right to look; a NUL in the name; a user who is not there.
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"{field}={name} cannot be opened ({reason}); fix that, or name another"
        ) from error
    if path.is_dir():
        check_kind(path, "a run or a snapshot", "name one")
        return find_snapshot(path, snapshot, names)
    if snapshot is not None:
        raise UserError(
            f"{names[1]}={snapshot}: {name} is no run's folder; leave it out"
        )
    if "://" in name:
        return download(field, name, with_trained)
    of_snapshot = path.suffix in (".safetensors", ".json") and path.is_file()
    if of_snapshot and (path.parent / INFO).exists():
        raise UserError(
            f"{field}={path}: name the folder that it lies in, {path.parent}"
        )
    if path.is_file():
        return path
    raise UserError(
        f"{field}={name}: there is no such file or folder, nor a network of that name; "
        f"those that ship with progan_jax: {', '.join(list_shipped()) or 'none'}"
    )


@contextmanager
def snapshot_folder(
    source: str | os.PathLike[str],
    snapshot: str | None = None,
    names: tuple[str, str] = ("source", "snapshot"),
    with_trained: bool = False,
) -> Iterator[Path]:
    """Yields the folder of a snapshot, which for a pickle is there only for so long.

    Args:
      source: See `load`.
      snapshot: See `load`.
      names: See `open_generator`.
      with_trained: Whether G and D of the training are wanted, too.

    Raises:
      UserError: if there is no such thing, or it cannot be read.
    """
    path = locate(source, snapshot, names, with_trained)
    if path.is_dir():
        yield path
        return
    with working_folder(Path(gettempdir()), "progan_jax_import_") as parent:
        import_snapshot(path, parent / path.stem, with_trained=with_trained)
        yield parent / path.stem


def import_snapshot(
    path: Path,
    folder: Path,
    kind: str = "Gs",
    level: float | None = None,
    with_trained: bool = False,
) -> dict[str, Any]:
    """Writes a snapshot of a file's networks and returns its description.

    Args:
      path: See `import_network`.
      folder: The snapshot's.
      kind: See `import_network`.
      level: See `import_network`.
      with_trained: Whether G and D come along.

    Raises:
      UserError: as for `import_network`.
      OSError: if the snapshot cannot be written.
    """
    params, info = import_network(path, kind, level)
    others = ("G", "D") if with_trained else ()
    trained = {other: import_network(path, other, level)[0] for other in others}
    write_snapshot(folder, params, info, trained)
    return info


def own_folder(source: str) -> Path:
    """Returns where tools write what they make of a source: its folder, or this one."""
    path = Path(source).expanduser()
    return path if path.is_dir() and source not in list_shipped() else Path()


def list_shipped() -> list[str]:
    """Returns the names of the networks that ship with this package."""
    return sorted(path.parent.name for path in _SHIPPED.glob(f"*/{INFO}"))
