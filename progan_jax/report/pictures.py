"""The run's grids, small enough that one page holds them all."""

import base64
import io
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeVar

from PIL import Image

_Item = TypeVar("_Item")

_NAME = re.compile(r"fakes_(\d{6,})_r(\d{3,})\.png")
_COLUMNS, _ROWS = 12, 8  # Images of a grid that are shown, at most.
_WIDTH = 960  # Pixels of a picture; wider ones are made smaller.
_MOST_PICTURES = 60
_MOST_BYTES = 7_000_000  # Base64 makes 9.3 MB of it.
_LOSSLESS_PIXELS = 2**15  # Blocks of few pixels, which lossy WebP would blur.
_QUALITY = 85


class Grid(NamedTuple):
    """A grid of fakes, as its name tells."""

    kimg: int
    resolution: int
    path: Path


@dataclass(frozen=True)
class Picture:
    """A grid, or its upper left part, as WebP.

    Attributes:
      file: Name of the grid.
      kimg: In that name; 0 of the reals.
      resolution: Of the stage, in pixels.
      shape: Width and height that the picture has at the final resolution.
      webp: The picture, at the stage's own resolution.
    """

    file: str
    kimg: int
    resolution: int
    shape: tuple[int, int]
    webp: bytes

    @property
    def uri(self) -> str:
        """The picture itself, as an address."""
        return f"data:image/webp;base64,{base64.b64encode(self.webp).decode()}"

    @property
    def is_coarse(self) -> bool:
        """Whether it has so few pixels that they are shown as squares."""
        return self.resolution <= 32


@dataclass(frozen=True)
class Pictures:
    """What a page shows of the grids.

    Attributes:
      fakes: Oldest first.
      reals: The training images, if their grid is there.
      num_fakes: Grids of fakes in the folder.
      unreadable: Names of those that are no pictures.
    """

    fakes: Sequence[Picture]
    reals: Picture | None
    num_fakes: int
    unreadable: Sequence[str]


def list_grids(folder: Path) -> list[Grid]:
    """Returns the grids of fakes in a folder, oldest first."""
    return sorted(
        Grid(int(match[1]), int(match[2]), path)
        for path in folder.glob("fakes_*_r*.png")
        if (match := _NAME.fullmatch(path.name))
    )


def read_pictures(folder: Path, final: int) -> Pictures:
    """Returns the grids of a run, thinned out evenly if they are many.

    Args:
      folder: With the run's grids.
      final: Resolution of the run, to which the images in the grids are enlarged.
    """
    grids = list_grids(folder)
    chosen = [
        (grid.path, grid.kimg, grid.resolution, final)
        for grid in thin(grids, _MOST_PICTURES)
    ]
    reals = folder / "reals.png"
    wanted = [*chosen, (reals, 0, final, final)] if reals.exists() else chosen
    with ThreadPoolExecutor() as pool:
        read = list(pool.map(lambda arguments: _read(*arguments), wanted))
    whole = [picture for picture in read if picture is not None]
    return Pictures(
        fakes=fit([p for p in whole if p.file != reals.name], _MOST_BYTES),
        reals=next((p for p in whole if p.file == reals.name), None),
        num_fakes=len(grids),
        unreadable=[w[0].name for w, r in zip(wanted, read, strict=True) if r is None],
    )


def thin(items: Sequence[_Item], most: int) -> list[_Item]:
    """Returns up to about `most` of the items at equal distances, and the last one.

    The distance is a power of two, so that a run that goes on shows what it has shown
    before, or every other one of it: nothing has to be read anew.
    """
    step = 1
    while len(items) > most * step:
        step *= 2
    chosen = list(items[::step])
    return chosen if (len(items) - 1) % step == 0 else [*chosen, items[-1]]


def fit(pictures: Sequence[Picture], most_bytes: int) -> list[Picture]:
    """Returns pictures, thinned out until they have so many bytes, at the most."""
    fitting = list(pictures)
    while len(fitting) > 2 and sum(len(p.webp) for p in fitting) > most_bytes:
        fitting = thin(fitting, (len(fitting) + 1) // 2)
    return fitting


def _read(path: Path, kimg: int, resolution: int, final: int) -> Picture | None:
    """Returns a grid's picture; None if it cannot be read."""
    try:
        changed = path.stat().st_mtime_ns
        shape, webp = _encode(path, changed, resolution, final)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return Picture(path.name, kimg, resolution, shape, webp)


# A run in training writes a page at every snapshot and has read most grids before.
@lru_cache(maxsize=4 * _MOST_PICTURES)
def _encode(
    path: Path, changed: int, resolution: int, final: int
) -> tuple[tuple[int, int], bytes]:
    """Returns shape and WebP of a grid's upper left part."""
    del changed  # A grid that is drawn anew is another one.
    with Image.open(path) as image:
        columns, rows = (min(most, s // final) for s, most in _sides(image))
        grid = image.crop((0, 0, columns * final, rows * final)).convert("RGB")
    if not columns or not rows:
        raise ValueError("smaller than one image")
    shape = grid.size
    # Each pixel is a block of equal ones there: one of them is enough.
    native = (columns * resolution, rows * resolution)
    small = grid.resize(native, Image.Resampling.NEAREST)
    return shape, _to_webp(small.reduce(max(1, -(-small.width // _WIDTH))))


def _sides(image: Image.Image) -> Iterator[tuple[int, int]]:
    return zip(image.size, (_COLUMNS, _ROWS), strict=True)


def _to_webp(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    lossless = image.width * image.height <= _LOSSLESS_PIXELS
    quality = 100 if lossless else _QUALITY
    image.save(buffer, "webp", lossless=lossless, quality=quality, method=2)
    return buffer.getvalue()
