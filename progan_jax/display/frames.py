"""Frames of films, and the paths through the latents that they follow."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d

from progan_jax.display.pictures import UNREADABLE, Grid, read_grid
from progan_jax.errors import warn
from progan_jax.images import tile, upscale_nearest
from progan_jax.inference.generator import to_uint8
from progan_jax.inference.load import open_snapshot
from progan_jax.inference.sampling import draw_latents, seed_key, seeded_latents
from progan_jax.inference.snapshot import list_snapshots, parse_moment
from progan_jax.runtime.logging import format_kimg

_BATCH = 64

_LEAST_SIDE = 512  # Smaller pictures are enlarged up to this, by a whole number.

_CAPTION = 40  # Pixels of the line below a picture; even, as MP4 needs.


def interpolation_frames(
    draw: Callable[[np.ndarray, np.ndarray | None], np.ndarray],
    path: np.ndarray,
    labels: np.ndarray | None,
    columns: int,
) -> Iterator[np.ndarray]:
    """Yields the images along a path.

    Args:
      draw: From latents and classes to images: a generator, or a part of one.
      path: Latents [frames, images, latent_dim], or w.
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
        # A short last part is filled up, so that all use one program.
        part = path[np.arange(start, start + at_once) % frames]
        drawn = to_uint8(draw(part.reshape(-1, size), classes))
        for frame in drawn.reshape(at_once, images, *drawn.shape[1:])[: frames - start]:
            yield _enlarge(tile(frame, columns))


def timelapse_frames(grids: Sequence[Grid], hold: int) -> Iterator[np.ndarray]:
    """Yields a run's grids, each `hold` times, with kimg and resolution below.

    A grid that cannot be read, or has another size than the first, is left out with a
    warning.

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
            warn(f"{grid.path} is left out: its size is not that of the first grid")
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
      seed: Seed for the latents.
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
        kimg = generator.info["stage"]["nimg"] / 1000
        text = f"{resolution}x{resolution}   {format_kimg(kimg)} kimg"
        if generator.num_layers:
            text += f"   psi {generator.read_style().truncation_psi:g}"
        rows.append(caption(row, text))
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


def side_by_side(images: Sequence[np.ndarray]) -> np.ndarray:
    """Returns uint8 [H, W, 3] of equal images [h, w, 1 or 3], enlarged if small."""
    return _enlarge(tile(np.stack(images), len(images)))


def _enlarge(picture: np.ndarray) -> np.ndarray:
    """Returns RGB of a grey or RGB picture, enlarged if it is small."""
    factor = max(1, _LEAST_SIDE // max(picture.shape[:2]))
    colours = picture.repeat(3, axis=2) if picture.shape[2] == 1 else picture
    return upscale_nearest(colours[None], factor)[0]


def wander(
    seed: int, frames: int, images: int, latent_size: int, smoothing: float
) -> np.ndarray:
    """Returns latents that move smoothly and end where they begin.

    Independent latents of every frame are smoothed over time and divided by the root
    of their mean square, which smoothing makes small.

    Args:
      seed: Seed for the latents.
      frames: Moments of the path.
      images: Paths side by side.
      latent_size: Width of the latents.
      smoothing: Standard deviation of the Gaussian, in frames; with 0 the latents stay
        independent.

    Returns:
      float32 [frames, images, latent_size], of mean square 1.

    Source: Karras et al. 2018, section 6.3, and the authors' program for its video.
    """
    latents = draw_latents(seed_key(seed), frames * images, latent_size)
    path = latents.reshape(frames, images, latent_size).astype(np.float64)
    if smoothing:
        path = gaussian_filter1d(path, smoothing, axis=0, mode="wrap")
    return (path / np.sqrt(np.mean(path**2))).astype(np.float32)


def travel(seeds: Sequence[int], frames: int, latent_size: int) -> np.ndarray:
    """Returns latents that go from seed to seed, and from the last to the first.

    Args:
      seeds: Two at least; the first image that each draws is passed.
      frames: Moments of the path, about equally many from each seed to the next.
      latent_size: Width of the latents.

    Returns:
      float32 [frames, 1, latent_size].

    Examples:
      >>> travel([0, 1], frames=8, latent_size=512).shape
      (8, 1, 512)
    """
    stops = np.concatenate([seeded_latents(seed, 1, latent_size) for seed in seeds])
    times = np.arange(frames) / frames * len(seeds)
    path = [
        slerp(stops[int(t)], stops[(int(t) + 1) % len(seeds)], t % 1) for t in times
    ]
    return np.stack(path)[:, None].astype(np.float32)


def circle(stops: np.ndarray, frames: int) -> np.ndarray:
    """Returns points that go smoothly through stops, and from the last to the first.

    It is for w, which unlike latents need not keep their length: a periodic cubic
    spline, with the same time from each stop to the next.

    Args:
      stops: [K, images, size], two at least.
      frames: Moments of the path; the first one is the first stop.

    Returns:
      float32 [frames, images, size].
    """
    closed = np.concatenate([stops, stops[:1]]).astype(np.float64)
    spline = CubicSpline(np.arange(len(closed)), closed, bc_type="periodic")
    times = np.arange(frames) * len(stops) / frames
    return spline(times).astype(np.float32)


def slerp(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    """Returns the latent on the arc from a to b; lengths are interpolated linearly.

    Args:
      a: A latent [latent_size], not zero.
      b: Another; if it points exactly away from a, no arc is unique, and the
        interpolation is linear.
      t: Weight of b, 0..1.

    Source: Shoemake 1985, for unit vectors.

    Examples:
      >>> import numpy as np
      >>> slerp(np.array([2.0, 0.0]), np.array([0.0, 2.0]), 0.5).round(3).tolist()
      [1.414, 1.414]
    """
    length_a, length_b = np.linalg.norm(a), np.linalg.norm(b)
    unit_a, unit_b = a / length_a, b / length_b
    angle = np.arccos(np.clip(unit_a @ unit_b, -1, 1))
    if np.sin(angle) < 1e-6:
        return (1 - t) * a + t * b
    arc = np.sin((1 - t) * angle) * unit_a + np.sin(t * angle) * unit_b
    return arc / np.sin(angle) * ((1 - t) * length_a + t * length_b)
