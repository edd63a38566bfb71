"""The grids of a run, reduced so that one page holds them all, under a slider.

Those that an earlier page holds are taken from there.
"""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeVar

from PIL import Image

from progan_jax.display.svg import details, escape, paragraph, section
from progan_jax.inference.snapshot import parse_moment

_COLUMNS, _ROWS = 12, 8  # Images of a grid that are shown, at most.

_WIDTH = 960  # Pixels of a picture; wider ones are made smaller.

_LOSSLESS_PIXELS = 2**15  # Blocks of few pixels, which lossy WebP would blur.

_QUALITY = 85

_STYLE = f"{_COLUMNS}x{_ROWS} {_WIDTH} {_QUALITY}"

# What Pillow raises for pictures that are damaged, or too large to be one.
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)

_IN_PAGE = re.compile(
    r'width="(\d+)" height="(\d+)" data-grid="([\w. ]+)" '
    r'src="data:image/webp;base64,([A-Za-z0-9+/=]+)"'
)


class Preview(NamedTuple):
    """A grid, or its upper left part, as WebP.

    Attributes:
      width: Of the picture at the run's final resolution, in pixels.
      height: Likewise.
      key: Tells the grid, when it was drawn, and how the picture is made of it.
      webp: The picture, at the stage's own resolution.
    """

    width: int
    height: int
    key: str
    webp: bytes

    @property
    def attributes(self) -> str:
        """The picture as attributes of an image in a page."""
        data = base64.b64encode(self.webp).decode()
        return (
            f'width="{self.width}" height="{self.height}" data-grid="{self.key}" '
            f'src="data:image/webp;base64,{data}"'
        )


def read_previews(page: Path) -> dict[str, Preview]:
    """Returns the pictures of an earlier page by their keys; none if there is no page.

    To decode a large grid takes long, and a page of a long run shows many.
    """
    try:
        text = page.read_text(errors="replace")
    except OSError:
        return {}
    found = {}
    for width, height, key, data in _IN_PAGE.findall(text):
        with suppress(ValueError):  # Whoever edited the page has to draw anew.
            webp = base64.b64decode(data, validate=True)
            found[key] = Preview(int(width), int(height), key, webp)
    return found


def read_grid(path: Path) -> Image.Image:
    """Returns the picture in a PNG as RGB; raises UNREADABLE if it is damaged."""
    with Image.open(path) as image:
        image.verify()  # Decoding does not compare the checksums.
    with Image.open(path) as image:
        return image.convert("RGB")


def preview(
    grid: Path, resolution: int, final: int, known: Mapping[str, Preview]
) -> Preview | None:
    """Returns a grid's picture; None if it cannot be read.

    Args:
      grid: A PNG of square images.
      resolution: Of the stage that drew them, in pixels.
      final: To which they are enlarged in the grid.
      known: Pictures that need not be made again.
    """
    try:
        key = f"{grid.name} {grid.stat().st_mtime_ns} {_STYLE}"
        return known.get(key) or _make(grid, key, resolution, final)
    except UNREADABLE:
        return None


# Some are made and not shown, as the page has no room; a run that goes on asks
# for them again.
@lru_cache(maxsize=256)
def _make(grid: Path, key: str, resolution: int, final: int) -> Preview:
    image = read_grid(grid)
    columns = min(_COLUMNS, image.width // final)
    rows = min(_ROWS, image.height // final)
    if not columns or not rows:
        raise ValueError("smaller than one image")
    part = image.crop((0, 0, columns * final, rows * final))
    # Each pixel is a block of equal ones there: one of them is enough.
    native = (columns * resolution, rows * resolution)
    small = part.resize(native, Image.Resampling.NEAREST)
    webp = _to_webp(small.reduce(max(1, -(-small.width // _WIDTH))))
    return Preview(part.width, part.height, key, webp)


def _to_webp(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    lossless = image.width * image.height <= _LOSSLESS_PIXELS
    quality = 100 if lossless else _QUALITY
    image.save(buffer, "webp", lossless=lossless, quality=quality, method=2)
    return buffer.getvalue()


_Item = TypeVar("_Item")

_FAKES = "fakes_"

_MOST_PICTURES = 60

_MOST_BYTES = 7_000_000  # Base64 makes 9.3 MB of it.


class Grid(NamedTuple):
    """A grid of fakes, as its name tells."""

    kimg: float
    resolution: int
    path: Path


@dataclass(frozen=True)
class Picture:
    """A grid as the page shows it.

    Attributes:
      file: Name of the grid.
      kimg: In that name; 0 of the reals.
      resolution: Of the stage, in pixels.
      preview: Its pixels.
    """

    file: str
    kimg: float
    resolution: int
    preview: Preview

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
        Grid(*moment, path)
        for path in folder.glob(f"{_FAKES}*_r*.png")
        if (moment := parse_moment(path.stem.removeprefix(_FAKES)))
    )


def read_pictures(folder: Path, final: int, known: Mapping[str, Preview]) -> Pictures:
    """Returns the grids of a run, thinned out evenly if they are many.

    Args:
      folder: With the run's grids.
      final: Resolution of the run, to which the images in the grids are enlarged.
      known: Pictures of an earlier page.
    """
    grids, reals = list_grids(folder), Grid(0, final, folder / "reals.png")
    chosen = thin(grids, _MOST_PICTURES)
    wanted = [*chosen, reals] if reals.path.exists() else chosen
    with ThreadPoolExecutor() as pool:
        read = list(pool.map(lambda grid: _read(grid, final, known), wanted))
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
    while len(fitting) > 2 and sum(len(p.preview.webp) for p in fitting) > most_bytes:
        fitting = thin(fitting, (len(fitting) + 1) // 2)
    return fitting


def _read(grid: Grid, final: int, known: Mapping[str, Preview]) -> Picture | None:
    """Returns a grid's picture; None if it cannot be read."""
    made = preview(grid.path, grid.resolution, final, known)
    return made and Picture(grid.path.name, grid.kimg, grid.resolution, made)


def pictures_section(pictures: Pictures, row_classes: Sequence[str] = ()) -> str:
    """Returns the grids, to be stepped through, and the training images beside.

    Args:
      pictures: Of the run.
      row_classes: Names of the classes that the rows show, if each shows one.
    """
    if not pictures.fakes:
        return section("pictures", "Pictures", _told(pictures))
    frames = "\n".join(_frame(picture) for picture in pictures.fakes)
    player = _player(pictures.fakes)
    fakes = f'<div><h3>Fakes</h3>\n<ol id="frames">\n{frames}\n</ol>\n{player}</div>'
    body = f'<div class="grids">\n{fakes}\n{_reals(pictures.reals)}\n</div>'
    if row_classes:
        body += paragraph(f"Each row shows one class: {', '.join(row_classes)}.")
    return section("pictures", "Pictures", body + _told(pictures))


def _player(fakes: Sequence[Picture]) -> str:
    """Returns what steps through the pictures; the script of the page shows it."""
    newest, told = len(fakes) - 1, _moment(fakes[-1])
    return (
        '<div class="player" id="player" hidden>\n'
        '<button type="button" id="play">Play</button>\n'
        '<label for="moment">Moment of the training</label>\n'
        f'<input type="range" id="moment" min="0" max="{newest}" step="1" '
        f'value="{newest}" aria-valuetext="{told}">\n'
        f'<output for="moment" id="told">{told}</output>\n</div>'
    )


def _frame(picture: Picture) -> str:
    text = f"Fakes after {_moment(picture)}"
    return (
        f"<li><figure>{_image(picture, text)}<figcaption>{_moment(picture)}"
        "</figcaption></figure></li>"
    )


def _reals(picture: Picture | None) -> str:
    if picture is None:
        return ""
    return f"<div><h3>Training images</h3>\n{_image(picture, 'Training images')}</div>"


def _image(picture: Picture, text: str) -> str:
    kind = ' class="coarse"' if picture.is_coarse else ""
    return f'<img{kind} alt="{escape(text)}" {picture.preview.attributes}>'


def _moment(picture: Picture) -> str:
    r = picture.resolution
    return f"{picture.kimg:,.10g} kimg, {r}x{r}"


def _told(pictures: Pictures) -> str:
    """Returns which grids are shown, and which could not be."""
    shown, there = len(pictures.fakes), pictures.num_fakes
    told = "No grid is drawn yet." if not there else f"All {there} grids are shown."
    lines = [told]
    if shown < there - len(pictures.unreadable):
        lines = [f"{shown} of {there} grids are shown, at about equal distances."]
    if pictures.unreadable:
        lines = [] if shown + len(pictures.unreadable) >= there else lines
        lines.append(f"Left out as unreadable: {', '.join(pictures.unreadable)}.")
    names = ", ".join(picture.file for picture in pictures.fakes)
    return paragraph(" ".join(lines)) + (
        details("Files of the grids", paragraph(names)) if names else ""
    )
