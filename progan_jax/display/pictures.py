"""The grids of a run, reduced so that one page holds them all, under a slider."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from PIL import Image

from progan_jax.display.markup import details, escape, paragraph, section
from progan_jax.inference.snapshot import parse_moment

_COLUMNS, _ROWS = 12, 8  # Images of a grid that are shown, at most.

_WIDTH = 960  # Pixels of a picture; wider ones are made smaller.

_LOSSLESS_PIXELS = 2**15  # Blocks of few pixels, which lossy WebP would blur.

_QUALITY = 85

_MOST_PICTURES = 60

_MOST_BYTES = 7_000_000  # 9.3 MB as Base64.

# What Pillow raises for pictures that are damaged or too large.
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)

_Item = TypeVar("_Item")


class Grid(NamedTuple):
    """A grid of fakes, with the moment in its name.

    Attributes:
      kimg: When it was drawn; 0 for the grid of real images.
      resolution: Resolution of the stage.
      path: The PNG.
    """

    kimg: float
    resolution: int
    path: Path

    @property
    def moment(self) -> str:
        """The moment as text."""
        return f"{self.kimg:,.10g} kimg, {self.resolution}x{self.resolution}"


class Picture(NamedTuple):
    """A grid, or its upper left part, as the page shows it.

    Attributes:
      grid: The grid.
      width: Width at the run's final resolution, in pixels.
      height: Likewise.
      rows: Number of rows of images.
      webp: The part at the stage's own resolution.
    """

    grid: Grid
    width: int
    height: int
    rows: int
    webp: bytes


@dataclass(frozen=True)
class Pictures:
    """What a page shows of the grids.

    Attributes:
      fakes: Oldest first.
      reals: The training images, if their grid is there.
      num_fakes: Number of grids of fakes in the folder.
      unreadable: Names of the files that cannot be read.
    """

    fakes: Sequence[Picture]
    reals: Picture | None
    num_fakes: int
    unreadable: Sequence[str]


def list_grids(folder: Path) -> list[Grid]:
    """Returns the grids of fakes in a folder, oldest first."""
    return sorted(
        Grid(*moment, path)
        for path in folder.glob("fakes_*_r*.png")
        if (moment := parse_moment(path.stem.removeprefix("fakes_")))
    )


def read_pictures(folder: Path, final: int) -> Pictures:
    """Returns the grids of a run, thinned out evenly if there are many.

    Args:
      folder: Folder of the run's grids.
      final: Resolution of the run, to which the images in the grids are enlarged.
    """
    grids, reals = list_grids(folder), Grid(0, final, folder / "reals.png")
    chosen = thin(grids, _MOST_PICTURES)
    wanted = [*chosen, reals] if reals.path.exists() else chosen
    read = [_read(grid, final) for grid in wanted]
    fakes = [picture for picture in read[: len(chosen)] if picture is not None]
    return Pictures(
        fakes=fit(fakes, _MOST_BYTES),
        reals=read[-1] if len(read) > len(chosen) else None,
        num_fakes=len(grids),
        unreadable=[
            grid.path.name
            for grid, picture in zip(wanted, read, strict=True)
            if picture is None
        ],
    )


def read_grid(path: Path) -> Image.Image:
    """Returns the picture in a PNG as RGB; raises UNREADABLE if it is damaged."""
    with Image.open(path) as image:
        image.verify()  # Decoding does not compare the checksums.
    with Image.open(path) as image:
        return image.convert("RGB")


def thin(items: Sequence[_Item], most: int) -> list[_Item]:
    """Returns up to about `most` of the items at equal distances, and the last one.

    The distance is a power of two, so that a longer run shows what it showed before,
    or every other item of it: few pictures have to be read again.
    """
    step = 1
    while len(items) > most * step:
        step *= 2
    chosen = list(items[::step])
    return chosen if (len(items) - 1) % step == 0 else [*chosen, items[-1]]


def fit(pictures: Sequence[Picture], most_bytes: int) -> list[Picture]:
    """Returns pictures, thinned out until they fit into a number of bytes."""
    fitting = list(pictures)
    while len(fitting) > 2 and sum(len(p.webp) for p in fitting) > most_bytes:
        fitting = thin(fitting, (len(fitting) + 1) // 2)
    return fitting


def _read(grid: Grid, final: int) -> Picture | None:
    """Returns a grid's picture; None if it cannot be read."""
    try:
        return _reduce(grid, final, grid.path.stat().st_mtime_ns)
    except UNREADABLE:
        return None


# Decoding a large grid takes long, and the next page shows mostly the same grids.
@lru_cache(maxsize=256)
def _reduce(grid: Grid, final: int, mtime_ns: int) -> Picture:
    del mtime_ns  # Of the cache's key alone.
    image = read_grid(grid.path)
    columns = min(_COLUMNS, image.width // final)
    rows = min(_ROWS, image.height // final)
    if not columns or not rows:
        raise ValueError("smaller than one image")
    part = image.crop((0, 0, columns * final, rows * final))
    # Each pixel is a block of equal ones there: one of them is enough.
    native = (columns * grid.resolution, rows * grid.resolution)
    small = part.resize(native, Image.Resampling.NEAREST)
    webp = _to_webp(small.reduce(max(1, -(-small.width // _WIDTH))))
    return Picture(grid, part.width, part.height, rows, webp)


def _to_webp(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    lossless = image.width * image.height <= _LOSSLESS_PIXELS
    quality = 100 if lossless else _QUALITY
    image.save(buffer, "webp", lossless=lossless, quality=quality, method=2)
    return buffer.getvalue()


def pictures_section(pictures: Pictures, row_classes: Sequence[str] = ()) -> str:
    """Returns the grids under a slider, and the training images beside it.

    Args:
      pictures: The run's pictures.
      row_classes: Names of the classes, if each row shows one: the first row the first
        class, and those below the last one begin again.
    """
    if not pictures.fakes:
        return section("pictures", "Pictures", _note(pictures))
    frames = "\n".join(_frame(picture) for picture in pictures.fakes)
    player = _player(pictures.fakes)
    body = f'<div><h3>Fakes</h3>\n<ol id="frames">\n{frames}\n</ol>\n{player}</div>'
    if pictures.reals:
        image = _image(pictures.reals, "Training images")
        body += f"\n<div><h3>Training images</h3>\n{image}</div>"
    body = f'<div class="grids">\n{body}\n</div>'
    if row_classes:
        names = islice(cycle(row_classes), pictures.fakes[-1].rows)
        body += paragraph(
            f"Rows show one class each, from the top: {', '.join(names)}."
        )
    return section("pictures", "Pictures", body + _note(pictures))


def _player(fakes: Sequence[Picture]) -> str:
    """Returns the slider and its button, which the page's script makes visible."""
    newest, moment = len(fakes) - 1, fakes[-1].grid.moment
    return (
        '<div class="player" id="player" hidden>\n'
        '<button type="button" id="play">Play</button>\n'
        '<label for="moment">Moment of the training</label>\n'
        f'<input type="range" id="moment" min="0" max="{newest}" step="1" '
        f'value="{newest}" aria-valuetext="{moment}">\n'
        f'<output for="moment" id="shown">{moment}</output>\n</div>'
    )


def _frame(picture: Picture) -> str:
    moment = picture.grid.moment
    return (
        f"<li><figure>{_image(picture, f'Fakes after {moment}')}<figcaption>{moment}"
        "</figcaption></figure></li>"
    )


def _image(picture: Picture, text: str) -> str:
    # Few pixels are shown as squares.
    kind = ' class="coarse"' if picture.grid.resolution <= 32 else ""
    data = base64.b64encode(picture.webp).decode()
    return (
        f'<img{kind} alt="{escape(text)}" width="{picture.width}" '
        f'height="{picture.height}" src="data:image/webp;base64,{data}">'
    )


def _note(pictures: Pictures) -> str:
    """Returns which grids are shown, and which cannot be read."""
    shown, total = len(pictures.fakes), pictures.num_fakes
    text = f"{shown} of {total} grids are shown." if total else "No grid is drawn yet."
    if pictures.unreadable:
        text += f" Left out as unreadable: {', '.join(pictures.unreadable)}."
    names = ", ".join(picture.grid.path.name for picture in pictures.fakes)
    folded = details("Files of the grids", paragraph(names)) if names else ""
    return paragraph(text) + folded
