"""Files of the web, downloaded completely or not at all."""

import hashlib
import http.client
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from progan_jax.errors import UserError, reason
from progan_jax.files import move_whole, working_folder
from progan_jax.weights.weight_files import CACHE_VARIABLE

_TIMEOUT_SEC = 60  # Without any data.

_CHUNK = 2**20


class UnreachableError(UserError):
    """An address that cannot be downloaded."""


class ChangedError(UserError):
    """A file whose SHA-256 is not the expected one."""


def download(
    url: str,
    path: Path,
    sha256: str | None = None,
    check: Callable[[Path], None] | None = None,
) -> None:
    """Downloads a file, and replaces an older one only by one that is accepted.

    Args:
      url: Its address.
      path: Where it is stored, which nothing but the complete file ever is.
      sha256: Its SHA-256, in hex; None if that is unknown.
      check: Takes the complete file, and raises UserError to refuse it.

    Raises:
      UnreachableError: if it cannot be downloaded completely.
      ChangedError: if its SHA-256 is another one.
      UserError: if it cannot be stored, or is refused.
    """
    print(f"downloading {url} into {path.parent}", file=sys.stderr)
    digest = hashlib.sha256()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with working_folder(path.parent, ".download_") as folder:
            with (folder / path.name).open("wb") as file:
                for chunk in _read(url):
                    digest.update(chunk)
                    file.write(chunk)
            if sha256 not in (None, digest.hexdigest()):
                raise ChangedError(
                    f"the download of {url} is damaged or changed: its SHA-256 is "
                    f"{digest.hexdigest()}, and not {sha256}; try again, or check the "
                    "address"
                )
            if check is not None:
                check(folder / path.name)
            move_whole(folder / path.name, path)
    except OSError as error:
        raise UserError(
            f"{path.parent} cannot be written ({reason(error)}); name another folder "
            f"in {CACHE_VARIABLE}"
        ) from error


def _read(url: str) -> Iterator[bytes]:
    """Yields the content of an address in chunks."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SEC) as response:
            left = int(response.headers.get("Content-Length") or -1)
            while chunk := response.read(_CHUNK):
                left -= len(chunk)
                yield chunk
            if left > 0:  # Unlike a read of everything, that of a part is silent.
                raise http.client.IncompleteRead(b"", left)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise UnreachableError(
            f"{url} cannot be downloaded ({reason(error)}); check the address and the "
            "network"
        ) from error
