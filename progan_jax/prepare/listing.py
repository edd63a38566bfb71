"""The files of a folder or a zip file: which are images, and which are left out.

Images are told by their names, and all else by its first bytes.
"""

import os
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from progan_jax.data.decoding import BadImage
from progan_jax.data.names import in_order, printable

_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif")

SUFFIXES = (*_JPEG, ".png", ".webp", ".bmp")

KINDS = "PNG, JPEG, WebP and BMP"

# Text by these suffixes is not opened: there may be a file of it for every image.
_TEXT = (".csv", ".html", ".json", ".jsonl", ".md", ".tsv", ".txt", ".xml", ".yaml")

# What systems leave in folders: no file that anyone put there.
_LITTER = re.compile(r"\.[^.]|__MACOSX$|Thumbs\.db$|desktop\.ini$", re.IGNORECASE)

_MOST_SUFFIXES = 8  # That a line names.

HEAD = 512  # Bytes by which a file is told.

_TEXT_BYTES = bytes([*b"\t\n\f\r\x1b", *range(32, 256)])

_STARTS = re.compile(rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|RIFF....WEBP|BM", re.DOTALL)


@dataclass(frozen=True)
class Listing:
    """The files of a source, hidden ones left out.

    Attributes:
      images: Their names, in order.
      others: Names and reasons of files that are no text, nor images of a kind that is
        read; links that lead nowhere, pipes and devices among them.
      texts: Names of the rest.
    """

    images: list[str]
    others: list[tuple[str, str]]
    texts: list[str]


def count_suffixes(names: Iterable[str]) -> str:
    """Returns how many files have which suffix, the most first, as in "3 .gif"."""
    counts = Counter(
        printable(PurePosixPath(name).suffix.lower()) or "without suffix"
        for name in names
    ).most_common()
    rest = sum(number for _, number in counts[_MOST_SUFFIXES:])
    shown = [f"{number:,} {suffix}" for suffix, number in counts[:_MOST_SUFFIXES]]
    return ", ".join(shown + [f"{rest:,} others"] * bool(rest))


def sort_files(names: Iterable[str], read_head: Callable[[str], bytes]) -> Listing:
    """Tells images from other files.

    Args:
      names: Of all files; hidden ones are left out.
      read_head: Returns the first HEAD bytes of one, or raises BadImage.
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
            if _is_image(head):
                images.append(name)
            elif _is_text(head):
                texts.append(name)
            else:
                others.append((name, f"it is none of {KINDS}"))
    return Listing(images, others, texts)


def _is_text(head: bytes) -> bool:
    """Returns whether bytes hold no control characters, whatever their encoding."""
    return not head.translate(None, _TEXT_BYTES)


def _is_image(head: bytes) -> bool:
    # Bitmaps begin with two letters, as a text may.
    known = _STARTS.match(head) is not None
    return known and not (head.startswith(b"BM") and _is_text(head))


def files_below(top: Path, repeated: list[tuple[str, str]]) -> Iterator[str]:
    """Yields the paths of files below a folder; links are followed.

    No folder is listed twice: those that lie there go before those that links lead to.

    Args:
      top: The folder.
      repeated: Takes links that are not followed, and the folder that they lead to.

    Raises:
      OSError: if a folder cannot be listed.
    """

    def fail(error: OSError) -> None:
        raise error

    listed: dict[tuple[int, int], str] = {}
    starts = deque([top])
    while starts:
        start = starts.popleft()
        if (known := listed.get(_identity(start))) is not None:
            repeated.append((start.relative_to(top).as_posix(), known))
            continue
        for folder, below, names in os.walk(start, onerror=fail):
            path = Path(folder)
            listed[_identity(path)] = path.relative_to(top).as_posix()
            below[:] = sorted(name for name in below if not _LITTER.match(name))
            starts.extend(path / name for name in below if (path / name).is_symlink())
            below[:] = [n for n in below if _identity(path / n) not in listed]
            # Pipes, devices and links that lead nowhere, too: they are bad images.
            yield from ((path / name).relative_to(top).as_posix() for name in names)


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino
