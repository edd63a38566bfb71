"""Models by the address of a file, and models in zip files.

A zip file holds a published folder. What is downloaded or unpacked is in models/ of the
cache of `weight_files.cache_dir`.
"""

import hashlib
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from progan_jax.errors import UserError, reason
from progan_jax.files import working_folder
from progan_jax.inference.hub import CARD
from progan_jax.inference.snapshot import INFO, TRAINED, WEIGHTS
from progan_jax.weights.downloads import download
from progan_jax.weights.unpickling import Budget
from progan_jax.weights.weight_files import cache_dir

WEB = ("https://", "http://")  # How addresses begin.

_MEMBERS = {INFO, CARD, *WEIGHTS.values(), *TRAINED.values()}


def fetch(url: str, check: Callable[[Path], None]) -> Path:
    """Returns the file of an address, downloaded unless the cache has it.

    A cached file that is refused may be what was there before: the address is asked
    again. A new one that is refused is not kept.

    Args:
      url: Begins with one of `WEB`.
      check: Takes a file, and raises UserError to refuse it.

    Raises:
      UserError: if it cannot be downloaded or stored, or is refused.
    """
    name = re.sub(r"[^\w.-]", "_", url.split("?")[0].rstrip("/").rpartition("/")[2])
    # The name is for people: other addresses may end in the same one.
    key = hashlib.sha256(url.encode()).hexdigest()[:16]
    path = _models() / key / (name or "model")
    if not path.exists() or _is_refused(path, check):
        download(url, path, check=check)
    return path


def _is_refused(path: Path, check: Callable[[Path], None]) -> bool:
    try:
        check(path)
    except UserError:
        return True
    return False


def unpack(path: Path) -> Path:
    """Returns the snapshot's folder that a zip file holds, unpacked in the cache.

    Only the files of a snapshot are unpacked, of the top folder of the archive or of a
    folder in it.

    Raises:
      UserError: if the file has no snapshot, is damaged, or cannot be unpacked.
    """
    folder = _models() / sha256_of(path)
    if not folder.exists():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with working_folder(folder.parent, ".unpack_") as made:
                (made / "model").mkdir()
                _extract(path, made / "model")
                (made / "model").rename(folder)
        except UserError:
            raise
        except Exception as e:  # Of zip files, of what packs them and of the system.
            raise UserError(
                f"{path} cannot be unpacked into {folder.parent} ({reason(e)}); "
                "download it again, or unpack it and name its folder"
            ) from e
    return folder


def _extract(path: Path, folder: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        places = [PurePosixPath(name) for name in archive.namelist()]
        tops = [place.parent for place in places if place.name == INFO]
        if len(tops) != 1:
            raise UserError(
                f"{path} is a zip archive with {len(tops) or 'no'} {INFO}, and must "
                "have one; unpack it first, or name one that progan_jax publish wrote"
            )
        budget = Budget(path.stat().st_size)
        for place, member in zip(places, archive.infolist(), strict=True):
            if place.parent == tops[0] and place.name in _MEMBERS:
                budget.take(member.file_size)
                with (
                    archive.open(member) as source,
                    (folder / place.name).open("wb") as target,
                ):
                    shutil.copyfileobj(source, target)


def is_unpacked(folder: Path) -> bool:
    """Returns whether `unpack` made a folder, whose name is its zip file's SHA-256."""
    return folder.parent == _models()


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _models() -> Path:
    return cache_dir() / "models"
