"""Small pictures of grids; those that an earlier page holds are taken from there."""

import base64
import io
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from PIL import Image

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
