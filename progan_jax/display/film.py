"""Films of pictures: MP4 by imageio-ffmpeg, animated WebP and GIF by Pillow."""

import importlib
import itertools
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from progan_jax.errors import UserError
from progan_jax.files import move_whole

SUFFIXES = (".mp4", ".webp", ".gif")

_QUALITY = 7  # Of 10; H.264's constant rate factor 15.

# Of the duration of a picture, in ms.
_UNITS = {".webp": 1, ".gif": 10}


def check_encoder(path: Path) -> None:
    """Raises UserError for a suffix not in SUFFIXES, and without an MP4 encoder."""
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        raise UserError(
            f"--out={path}: the name must end in a dot and one of "
            f"{', '.join(s[1:] for s in SUFFIXES)}, as in film{SUFFIXES[0]}; change it"
        )
    if kind == ".mp4":
        try:
            _import_ffmpeg(path).get_ffmpeg_exe()
        except RuntimeError as error:
            line = str(error).splitlines()[0]
            raise UserError(f"--out={path}: imageio-ffmpeg: {line}") from error


def write_film(path: Path, frames: Iterable[np.ndarray], fps: int) -> int:
    """Writes a film; one that fails leaves an older file as it was.

    Args:
      path: Its suffix is one of SUFFIXES.
      frames: uint8 [H, W, 3], of one size, whose sides are even.
      fps: Frames in a second.

    Returns:
      The number of frames.

    Raises:
      UserError: if there is no frame, or the file cannot be written.
    """
    rest = iter(frames)
    first = next(rest, None)
    if first is None:
        raise UserError(f"--out={path}: there are no frames to write")
    kind = path.suffix.lower()
    write = _write_mp4 if kind == ".mp4" else _write_animation
    unfinished = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.touch()  # ffmpeg would report a failure in many lines.
        count = write(unfinished, itertools.chain([first], rest), fps)
        move_whole(unfinished, path)
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--out={path}: {reason}; choose another file") from error
    finally:
        with suppress(OSError):  # Moved, or never written.
            unfinished.unlink()
    return count


def _write_mp4(path: Path, frames: Iterator[np.ndarray], fps: int) -> int:
    first = next(frames)
    height, width, _ = first.shape
    writer = _import_ffmpeg(path).write_frames(
        path,
        (width, height),
        fps=fps,
        codec="libx264",
        quality=_QUALITY,
        macro_block_size=2,
        output_params=["-movflags", "+faststart"],
    )
    with warnings.catch_warnings():
        # JAX warns of forks, but this child becomes ffmpeg at once.
        warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
        writer.send(None)
    count = 0
    for frame in itertools.chain([first], frames):
        writer.send(np.ascontiguousarray(frame))
        count += 1
    writer.close()
    return count


def _write_animation(path: Path, frames: Iterator[np.ndarray], fps: int) -> int:
    """Writes WebP or GIF, for which Pillow needs all frames at once."""
    first, *rest = (Image.fromarray(frame) for frame in frames)
    options: dict[str, Any] = {"quality": 85, "method": 2}
    kind = path.suffix.lower()
    if kind == ".gif":
        options = {}
    count, unit = 1 + len(rest), _UNITS[kind]
    ends = np.rint(np.arange(count + 1) * 1000 / fps / unit).astype(int) * unit
    first.save(
        path,
        save_all=True,
        append_images=rest,
        duration=np.diff(ends).tolist(),
        loop=0,
        **options,
    )
    return count


def _import_ffmpeg(path: Path) -> Any:
    try:
        return importlib.import_module("imageio_ffmpeg")
    except ImportError as error:
        raise UserError(
            f"--out={path}: MP4 needs imageio-ffmpeg; install it with: pip install "
            "imageio-ffmpeg, or let the name end in .webp or .gif"
        ) from error
