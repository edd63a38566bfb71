"""Sheets: images in rows and columns, with labels beside them and headings between."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from progan_jax.images import upscale_nearest

_LEAST_SIDE = 128  # Smaller images are enlarged up to this, by a whole number.

_GAP = 4  # Pixels between images.

_INK, _PAPER = (27, 30, 34), (255, 255, 255)


class Row(NamedTuple):
    """Images of a row, with a label at its left.

    Attributes:
      label: May have several lines.
      images: uint8 [h, w, 1 or 3], all of the sheet's of one size; None for a blank.
    """

    label: str
    images: Sequence[np.ndarray | None]


class Section(NamedTuple):
    """Rows below a heading, which may be empty."""

    heading: str
    rows: Sequence[Row]


def draw_sheet(columns: Sequence[str], sections: Sequence[Section]) -> np.ndarray:
    """Returns the picture of a sheet, uint8 [H, W, 3].

    Args:
      columns: Labels of the columns, above the first row.
      sections: From top to bottom; at least one image is not a blank.
    """
    pen = _Pen(columns, sections)
    top = pen.lines(columns) * pen.line + _GAP
    height = top + sum(pen.height(section) for section in sections)
    width = pen.left + len(columns) * pen.step
    whole = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(whole)
    for number, label in enumerate(columns):
        centre = pen.left + number * pen.step + pen.side // 2
        draw.text((centre, _GAP), label, _INK, pen.font, anchor="ma", align="center")
    for section in sections:
        top = pen.add(whole, section, top)
    return np.asarray(whole)


class _Pen:
    """Measures of a sheet, and the drawing of its sections.

    Attributes:
      side: Height and width of an image in the sheet.
      step: From one image to the next.
      line: Height of a line of text.
      left: Width of the labels of rows.
    """

    def __init__(self, columns: Sequence[str], sections: Sequence[Section]) -> None:
        rows = [row for section in sections for row in section.rows]
        first = next(i for row in rows for i in row.images if i is not None)
        self._factor = max(1, _LEAST_SIDE // len(first))
        self.side = self._factor * len(first)
        self.step = self.side + _GAP
        # Labels of columns are a few words at most.
        self.font = ImageFont.load_default(size=max(15, self.side // 9))
        self.line = round(1.4 * self.font.size)
        self.left = self.line // 2 + max(map(self._width, [row.label for row in rows]))
        self.step = max(self.step, *map(self._width, columns))

    def lines(self, labels: Sequence[str]) -> int:
        """Returns the number of lines of the longest label."""
        return max(label.count("\n") + 1 if label else 0 for label in labels)

    def height(self, section: Section) -> int:
        """Returns the height of a section."""
        heading = 2 * self.line if section.heading else 0
        return heading + len(section.rows) * (self.side + _GAP)

    def add(self, whole: Image.Image, section: Section, top: int) -> int:
        """Draws a section below `top` and returns its lower end."""
        draw = ImageDraw.Draw(whole)
        if section.heading:
            place = (self.left, top + self.line)
            draw.text(place, section.heading, _INK, self.font, anchor="lm")
            top += 2 * self.line
        for row in section.rows:
            place = (self.line // 2, top + self.side // 2)
            draw.text(place, row.label, _INK, self.font, anchor="lm")
            for number, image in enumerate(row.images):
                if image is not None:
                    shown = Image.fromarray(self._show(image))
                    whole.paste(shown, (self.left + number * self.step, top))
            top += self.side + _GAP
        return top

    def _show(self, image: np.ndarray) -> np.ndarray:
        colours = image.repeat(3, axis=2) if image.shape[2] == 1 else image
        return upscale_nearest(colours[None], self._factor)[0]

    def _width(self, text: str) -> int:
        widths = [self.font.getlength(line) for line in text.split("\n")]
        return round(max(widths)) + self.line // 2
