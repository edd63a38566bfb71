"""Files of a folder or a zip file: which are images, and which are not read.

Images are recognised by their suffixes, all other files by their first bytes.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from progan_jax.data.decoding import BadImage
from progan_jax.data.names import in_order

_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif")

SUFFIXES = (*_JPEG, ".png", ".webp", ".bmp")

KINDS = "PNG, JPEG, WebP and BMP"

# Text by these suffixes is not opened: there may be such a file for every image.
_TEXT = (".csv", ".html", ".json", ".jsonl", ".md", ".tsv", ".txt", ".xml", ".yaml")

# Hidden files, and what macOS and Windows leave in folders.
_LITTER = re.compile(r"\.[^.]|__MACOSX$|Thumbs\.db$|desktop\.ini$", re.IGNORECASE)

HEAD = 512  # Bytes by which images and text are recognised.

_TEXT_BYTES = bytes([*b"\t\n\f\r\x1b", *range(32, 256)])

_STARTS = re.compile(rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|RIFF....WEBP|BM", re.DOTALL)


@dataclass(frozen=True)
class Listing:
    """The files of a source, without hidden ones.

    Attributes:
      images: Their names, in order.
      others: Names and reasons of files that are neither images of a kind that is read
        nor text; also of broken links, pipes and devices.
      texts: Names of the text files.
    """

    images: list[str]
    others: list[tuple[str, str]]
    texts: list[str]


def sort_files(names: Iterable[str], read_head: Callable[[str], bytes]) -> Listing:
    """Sorts files into images and others.

    Args:
      names: Names of all files.
      read_head: Returns the first HEAD bytes of a file, or raises BadImage.
    """
    images, others, texts = [], [], []
    for name in sorted(set(names), key=in_order):
        path = PurePosixPath(name.replace("\\", "/"))
        suffix = path.suffix.lower()
        if any(map(_LITTER.match, path.parts)):
            continue
        if suffix in SUFFIXES:
            images.append(name)
        elif suffix in _TEXT:
            texts.append(name)
        else:
            try:
                head = read_head(name)
            except BadImage as error:
                others.append((name, str(error)))
                continue
            is_text = not head.translate(None, _TEXT_BYTES)
            # Bitmaps begin with two letters, as text may.
            if _STARTS.match(head) and not (is_text and head.startswith(b"BM")):
                images.append(name)
            elif is_text:
                texts.append(name)
            else:
                others.append((name, f"it is none of {KINDS}"))
    return Listing(images, others, texts)


def files_below(top: Path, repeated: list[tuple[str, str]]) -> Iterator[str]:
    """Yields the paths of the files below a folder; links are followed.

    No folder is read twice: by its own path if it has one below `top`, or else by the
    first link to it. Hidden folders are not entered, except by links to them.

    Args:
      top: The folder.
      repeated: Receives links that are not followed, and the folders they point to.

    Raises:
      OSError: if a folder cannot be listed.
    """

    def fail(error: OSError) -> None:
        raise error

    paths: dict[tuple[int, int], Path] = {}
    for folder, below, _ in os.walk(top, onerror=fail):
        below[:] = [name for name in below if not _LITTER.match(name)]
        paths[_identity(Path(folder))] = Path(folder)
    for folder, below, names in os.walk(top, onerror=fail, followlinks=True):
        at = Path(folder)
        below[:] = sorted(name for name in below if not _LITTER.match(name))
        for name in below.copy():
            path = paths.setdefault(_identity(at / name), at / name)
            if path != at / name:
                below.remove(name)
                link, found = (p.relative_to(top).as_posix() for p in (at / name, path))
                repeated.append((link, found))
        # Pipes, devices and broken links too: they become bad images.
        yield from ((at / name).relative_to(top).as_posix() for name in names)


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino
