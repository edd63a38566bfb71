"""The pictures of a film, one after another."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from progan_jax.images import tile, upscale_nearest
from progan_jax.report.pictures import Grid
from progan_jax.report.previews import UNREADABLE, read_grid
from progan_jax.runtime.logging import warn
from progan_jax.runtime.snapshot import list_snapshots, parse_moment
from progan_jax.trained import TrainedGenerator, open_snapshot, to_uint8

_BATCH = 64
_LEAST_SIDE = 512  # Smaller pictures are enlarged by a whole number, up to this.
_CAPTION = 40  # Pixels of the line below a picture; even, as MP4 needs.


def interpolation_frames(
    generator: TrainedGenerator,
    path: np.ndarray,
    labels: np.ndarray | None,
    columns: int,
) -> Iterator[np.ndarray]:
    """Yields the images along a path.

    Args:
      generator: That draws them.
      path: Latents [frames, images, latent_dim].
      labels: Classes int [images], or None.
      columns: Images side by side.

    Yields:
      uint8 [H, W, 3].

    Raises:
      UserError: if the images are not finite.
    """
    frames, images, size = path.shape
    at_once = min(frames, max(1, _BATCH // images))
    classes = None if labels is None else np.tile(labels, at_once)
    for start in range(0, frames, at_once):
        # A short last part is filled up: one program serves all.
        part = path[np.arange(start, start + at_once) % frames]
        drawn = to_uint8(generator(part.reshape(-1, size), classes))
        for frame in drawn.reshape(at_once, images, *drawn.shape[1:])[: frames - start]:
            yield _enlarge(tile(frame, columns))


def timelapse_frames(grids: Sequence[Grid], hold: int) -> Iterator[np.ndarray]:
    """Yields a run's grids, each `hold` times, with kimg and resolution below.

    Grids that cannot be read, or are of another size than the first, are left out with
    a warning.

    Yields:
      uint8 [H, W, 3].
    """
    size = None
    for grid in grids:
        try:
            picture = read_grid(grid.path)
        except UNREADABLE as error:
            warn(f"{grid.path} is left out: it cannot be read ({error})")
            continue
        size = size or picture.size
        if picture.size != size:
            warn(f"{grid.path} is left out: it is of another size than the first grid")
            continue
        side = f"{grid.resolution}x{grid.resolution}"
        frame = caption(np.asarray(picture), f"{grid.kimg:,.10g} kimg   {side}")
        for _ in range(hold):
            yield frame


def growth_picture(
    run: Path, num: int, seed: int, label: int | None
) -> tuple[np.ndarray, int]:
    """Draws the same latents by the last snapshot of every stage, a row for each.

    Args:
      run: A run's folder.
      num: Images in a row.
      seed: Of the latents.
      label: Class of all images; None for random ones, or where there are none.

    Returns:
      uint8 [H, W, 3], and the number of stages.
    """
    last = {
        moment[1]: folder
        for folder in list_snapshots(run)
        if (moment := parse_moment(folder.name))
    }
    final, rows = max(last), []
    for resolution, folder in sorted(last.items()):
        generator = open_snapshot(folder)
        images = to_uint8(generator.sample(num, seed, label))
        row = _enlarge(tile(upscale_nearest(images, final // resolution), num))
        told = f"{resolution}x{resolution}   {generator.info['nimg'] / 1000:,.0f} kimg"
        rows.append(caption(row, told))
    return np.concatenate(rows), len(rows)


def caption(picture: np.ndarray, text: str) -> np.ndarray:
    """Returns a picture with a dark line of text below it; uint8 [H, W, 3]."""
    height, width, _ = picture.shape
    whole = Image.new("RGB", (width, height + _CAPTION), (21, 24, 28))
    whole.paste(Image.fromarray(picture))
    font = ImageFont.load_default(size=_CAPTION // 2)
    place = (_CAPTION // 3, height + _CAPTION // 2)
    ImageDraw.Draw(whole).text(place, text, (232, 230, 225), font, anchor="lm")
    return np.asarray(whole)


def _enlarge(picture: np.ndarray) -> np.ndarray:
    """Returns RGB of a grey or RGB picture, enlarged if it is small."""
    factor = max(1, _LEAST_SIDE // max(picture.shape[:2]))
    colours = picture.repeat(3, axis=2) if picture.shape[2] == 1 else picture
    return upscale_nearest(colours[None], factor)[0]
