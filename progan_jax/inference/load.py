"""Trained generators by their source: a run, a snapshot, a file or a network."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from progan_jax.errors import UserError
from progan_jax.files import working_folder
from progan_jax.inference.generator import TrainedGenerator
from progan_jax.inference.hub import SCHEME, download
from progan_jax.inference.remote import WEB, fetch, is_unpacked, sha256_of, unpack
from progan_jax.inference.snapshot import (
    INFO,
    digest,
    find_snapshot,
    read_snapshot,
    write_snapshot,
)
from progan_jax.models.families import import_network, import_networks
from progan_jax.runtime.backend import check_devices
from progan_jax.weights.kinds import ZIP, check_kind, identify

_SHIPPED = Path(__file__).parents[1] / "pretrained"


def load(
    source: str | os.PathLike[str],
    snapshot: str | None = None,
    sha256: str | None = None,
) -> TrainedGenerator:
    """Returns a trained generator.

        g = progan_jax.load("runs/digits")
        images = g(np.random.default_rng(0).standard_normal((8, g.latent_dim)))

    Args:
      source: Name of a network that ships with this package; or a run's folder, of
        which the newest snapshot is taken; or a snapshot's folder, or a zip file of
        it; or a pickle of the authors' program, of which Gs is taken without running
        code in it; or the https:// address of a zip file or a pickle, which is
        downloaded once; or hf://USER/NAME[@REVISION], a repository of the Hugging Face
        Hub.
      snapshot: One of a run's snapshots, such as "000100.032_r032", or "best".
      sha256: SHA-256 that the weights of the snapshot must have, in hex, as
        `tools.publish` prints it, or that of the zip file or pickle.

    Raises:
      UserError: if the source does not exist or cannot be read, or has another SHA-256.

    Examples:
      >>> import progan_jax
      >>> progan_jax.load("cifar10")
      <generator cifar10: 32x32x3 from 128 latents, 10 classes>
    """
    return open_generator(source, snapshot, sha256=sha256)


def open_generator(
    source: str | os.PathLike[str],
    snapshot: str | None = None,
    names: tuple[str, str] = ("source", "snapshot"),
    sha256: str | None = None,
) -> TrainedGenerator:
    """Returns what `load` returns, with errors in the words of a command line.

    Args:
      source: See `load`.
      snapshot: See `load`.
      names: Names by which the user gave source and snapshot, for the messages.
      sha256: See `load`.

    Raises:
      UserError: as for `load`.
    """
    name = os.fspath(source)
    _check_form(sha256)
    path = locate(source, snapshot, names, sha256=sha256)
    if not name.startswith(WEB):  # Else `locate` has compared it.
        _check_sum(name, sha256, path)
    if not path.is_dir():
        return TrainedGenerator(*import_network(path, "Gs"), path.name)
    if name.startswith(SCHEME):
        return open_snapshot(path, name.removeprefix(SCHEME))
    is_zip = os.path.isfile(Path(name).expanduser()) or name.startswith(WEB)
    return open_snapshot(path, Path(name).stem if is_zip else None)


def _check_form(sha256: str | None) -> None:
    """Raises UserError if a SHA-256 can be none."""
    if sha256 is not None and not re.fullmatch(r"\s*[0-9a-fA-F]{64}\s*", str(sha256)):
        raise UserError(
            f"sha256={sha256} must be 64 hexadecimal digits; copy the whole sum, and "
            "nothing else"
        )


def _check_sum(name: str, sha256: str | None, path: Path) -> None:
    """Raises UserError if a file or a snapshot's folder has another SHA-256."""
    if sha256 is None or sha256.strip().lower() in (sums := _sums(path)):
        return
    raise UserError(
        f"sha256={sha256}: {name} has {' and '.join(sums)}; check the sum: the model "
        "may be damaged, or another one"
    )


def _sums(path: Path) -> list[str]:
    """Returns the SHA-256 of a file, or of a snapshot's weights and of its zip file."""
    if not path.is_dir() and identify(path) == ZIP:
        with suppress(UserError):  # Of one that is damaged there is no other.
            path = unpack(path)
    if not path.is_dir():
        return [sha256_of(path)]
    return [digest(path), *([path.name] if is_unpacked(path) else [])]


def open_snapshot(folder: Path, name: str | None = None) -> TrainedGenerator:
    """Returns the generator of a snapshot's folder.

    Args:
      folder: The snapshot's folder.
      name: Its name in messages; by default that of the folder.

    Raises:
      UserError: if the folder has no valid snapshot of a generator, or JAX finds no
        device.
    """
    weights, info = read_snapshot(folder)
    if info.get("network", "G") != "G":
        raise UserError(
            f"snapshot {folder} is of a discriminator, which makes no images; name a "
            "generator's"
        )
    check_devices()
    try:
        return TrainedGenerator(weights, info, name or folder.absolute().name)
    except UserError as error:
        raise UserError(f"snapshot {folder}: {error}") from error


def locate(
    source: str | os.PathLike[str],
    snapshot: str | None = None,
    names: tuple[str, str] = ("source", "snapshot"),
    with_trained: bool = False,
    sha256: str | None = None,
) -> Path:
    """Returns a snapshot's folder or an official file, downloaded and unpacked.

    Args:
      source: See `load`.
      snapshot: See `load`.
      names: See `open_generator`.
      with_trained: See `hub.download`.
      sha256: See `load`; only a download that has it is kept.

    Raises:
      UserError: if the source does not exist, or such a download is refused.
    """
    name, field = os.fspath(source), names[0]
    if not name:
        raise UserError(f"{field} is empty; name a run, a file or a network")
    path = _SHIPPED / name if name in list_shipped() else Path(name)
    path = Path(os.path.expanduser(path))
    if os.path.isdir(path):  # Unlike Path.is_dir, it raises nothing.
        check_kind(path, "a run or a snapshot", "name one")
        return find_snapshot(path, snapshot, names)
    if snapshot is not None:
        raise UserError(f"{names[1]}={snapshot}: {name} is not a run; leave it out")
    if name.startswith(WEB):
        path = fetch(name, partial(_check_sum, name, sha256))
    elif "://" in name:
        return download(field, name, with_trained)
    if not os.path.isfile(path):
        raise UserError(
            f"{field}={name}: there is no such file or folder that can be read, nor a "
            f"network of that name; this package has {', '.join(list_shipped())}"
        )
    if path.suffix in (".safetensors", ".json") and (path.parent / INFO).exists():
        raise UserError(f"{field}={path}: name its folder instead, {path.parent}")
    return unpack(path) if identify(path) == ZIP else path


@contextmanager
def snapshot_folder(
    source: str | os.PathLike[str],
    snapshot: str | None = None,
    names: tuple[str, str] = ("source", "snapshot"),
    with_trained: bool = False,
) -> Iterator[Path]:
    """Yields the folder of a snapshot; that of a pickle is temporary.

    Args:
      source: See `load`.
      snapshot: See `load`.
      names: See `open_generator`.
      with_trained: Whether G and D of the training are needed, too.

    Raises:
      UserError: as for `load`.
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
      folder: The snapshot's folder.
      kind: See `import_network`.
      level: See `import_network`.
      with_trained: Whether G and D are imported, too.

    Raises:
      UserError: as for `import_network`.
      OSError: if the snapshot cannot be written.
    """
    params, info = import_network(path, kind, level)
    trained = import_networks(path, level)[0] if with_trained else {}
    if trained and "D" not in trained:
        raise UserError(
            f"{path}: D of this program's files is not imported; leave out "
            "--with_training_nets"
        )
    trained.pop("Gs", None)
    write_snapshot(folder, params, info, trained)
    return info


def own_folder(source: str) -> Path:
    """Returns the folder for a tool's output: the source itself, or the current one."""
    path = Path(source).expanduser()
    return path if path.is_dir() and source not in list_shipped() else Path()


def list_shipped() -> list[str]:
    """Returns the names of the networks that ship with this package."""
    return sorted(path.parent.name for path in _SHIPPED.glob(f"*/{INFO}"))
