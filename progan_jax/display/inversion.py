"""Pictures of an inversion: images from the target on, distance against steps."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from progan_jax.display.charts import Points, draw_lines, use_logarithm
from progan_jax.display.sheet import Row, Section, draw_sheet

_HEIGHT, _LEAST_WIDTH, _DOTS = 280, 520, 100  # Of the chart, in pixels; pixels an inch.


def inversion_picture(
    images: Mapping[str, np.ndarray], lines: Mapping[str, Points]
) -> np.ndarray:
    """Returns images in a row with a chart below, uint8 [H, W, 3].

    Args:
      images: uint8 [h, w, 1 or 3], all of one size, by what they show.
      lines: (step, distance) by name.
    """
    row: Sequence[np.ndarray] = list(images.values())
    sheet = draw_sheet(list(images), [Section("", [Row("", row)])])
    chart = distance_chart(lines, max(sheet.shape[1], _LEAST_WIDTH))
    margin = chart.shape[1] - sheet.shape[1]
    sheet = np.pad(sheet, ((0, 0), (0, margin), (0, 0)), constant_values=255)
    return np.concatenate([sheet, chart])


def distance_chart(lines: Mapping[str, Points], width: int) -> np.ndarray:
    """Returns the chart of distances against steps, uint8 [h, width, 3].

    Args:
      lines: (step, distance) by name; those of one name share a colour.
      width: In pixels.
    """
    from matplotlib.figure import Figure

    size = width / _DOTS, _HEIGHT / _DOTS
    figure = Figure(figsize=size, dpi=_DOTS, layout="constrained")
    axis = figure.subplots()
    draw_lines(axis, lines.items(), marker="")
    axis.set(xlabel="steps", ylabel="distance")
    if min(value or 0 for points in lines.values() for _, value in points) > 0:
        use_logarithm(axis)
    axis.legend(fontsize="small")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    with Image.open(buffer) as image:
        return np.asarray(image.convert("RGB"))
