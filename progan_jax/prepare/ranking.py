"""Selection of the best aligned faces by their power spectra.

Source: Karras et al. 2018, appendix C, which favours a broad range of frequencies with
about the same power in all directions, but gives no formula. Ours is in
`power_spectrum_score`.
"""

import json
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from progan_jax.data.decoding import BadImage
from progan_jax.data.names import printable
from progan_jax.errors import UserError
from progan_jax.files import csv_text, write_json, write_whole
from progan_jax.prepare.processes import call_for_each
from progan_jax.prepare.readers import Reader, Subset
from progan_jax.prepare.writing import refuse_bad

_LOWEST = 4  # Cycles per image where the reference band starts.

_FIRST = 16  # Cycles per image where it ends and the first scored octave starts.

_SECTORS = 8  # Of half a turn, since waves of opposite directions are the same.

_LUMA = (0.299, 0.587, 0.114)  # Rec. 601

# The variance of rounding to integers is 1/12; twice that for its fluctuations.
_ROUNDING = 2 / 12

_LEAST = 2.0**-20  # Smallest ratio, so that the score is finite.


def power_spectrum_score(image: np.ndarray) -> float:
    """Returns a score of an image's detail, from -20 (none) up to 0.

    The luma, 0 to 255 minus its mean, is weighted by a Hann window, which suppresses
    the discontinuity at the borders. P is the power of its Fourier transform minus that
    of rounding to 8 bits. Photographs have P ~ 1 / f^2 at frequency f, so that f^2 P is
    about flat for a sharp one. E_bk is the mean of f^2 P in octave b and sector k of 8
    directions; the octaves go from 16 cycles per image up to the highest frequency. E_0
    is the mean over 4 to 16 cycles and all directions, and r_bk = max(E_bk / E_0,
    2^-20):

        score = mean over b of log2(G_b / (1 + A_b))

    with G_b the geometric and A_b the arithmetic mean of r_bk over the directions. A
    flat spectrum scores -1. Blur weakens high frequencies and lowers the score.
    Contrast does not count, and noise gains little, since an octave contributes at most
    0. An octave that is stronger in one direction loses, since G_b grows by less than
    A_b: halftone dots, lines of a screen.

    Args:
      image: uint8 [r, r, 3], r at least 64. Scores of different sides are not
        comparable.
    """
    reference, cells = _energies(image @ np.array(_LUMA))
    if reference <= 0:  # Flat, apart from rounding.
        return math.log2(_LEAST)
    ratios = np.maximum(cells / reference, _LEAST)
    octaves = np.log2(ratios).mean(axis=1) - np.log2(1 + ratios.mean(axis=1))
    return float(max(octaves.mean(), math.log2(_LEAST)))


def _energies(luma: np.ndarray) -> tuple[float, np.ndarray]:
    """Returns the mean f^2 P of [r, r]: E_0, and E_bk [octaves, sectors]."""
    window = _window(len(luma))
    level = np.sum(window * luma) / np.sum(window)
    power = np.abs(np.fft.rfft2(window * (luma - level))) ** 2
    power -= _ROUNDING * np.sum(window**2)
    cell, square, count = _cells(len(luma))
    # The last bin is for frequencies in no cell.
    sums = np.bincount(cell, (square * power).ravel(), len(count) + 1)[:-1]
    means = sums / count
    return float(means[0]), means[1:].reshape(-1, _SECTORS)


@cache
def _window(side: int) -> np.ndarray:
    hann = np.hanning(side + 2)[1:-1]
    return np.outer(hann, hann)


@cache
def _cells(side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Assigns each frequency of an image to a cell.

    Returns:
      The cell of each of the r * (r // 2 + 1) frequencies, 0 for the reference band and
      the number of cells for none; the squares of the frequencies [r, r // 2 + 1], in
      cycles per image; the number of frequencies in each cell.
    """
    fy = np.fft.fftfreq(side, 1 / side)[:, None]
    fx = np.arange(side // 2 + 1.0)[None, :]
    square = fy**2 + fx**2
    num_octaves = int(math.log2(side / (2 * _FIRST)))
    num_cells = 1 + num_octaves * _SECTORS
    octave = np.floor(np.log2(np.maximum(square, 1) / _FIRST**2) / 2).astype(int)
    # Sectors are centred on the axes, where the edges of a scene concentrate.
    sector = np.rint(np.arctan2(fy, fx) / np.pi * _SECTORS).astype(int) % _SECTORS
    cell = 1 + octave * _SECTORS + sector
    cell[octave >= num_octaves] = num_cells
    cell[octave < 0] = num_cells
    cell[(octave < 0) & (square >= _LOWEST**2)] = 0
    count = np.bincount(cell.ravel(), minlength=num_cells)[:num_cells]
    return cell.ravel(), square, count


_PART = 64  # Faces that are scored before their scores are saved.


@dataclass(frozen=True)
class Score:
    """Score of an image.

    Attributes:
      index: Index in the source.
      name: Name that is shown to the user.
      score: See `power_spectrum_score`; None if the image cannot be used.
      reason: Why it cannot.
    """

    index: int
    name: str
    score: float | None
    reason: str = ""


def score_images(
    reader: Reader,
    folder: Path,
    strict: bool,
    workers: int,
    report: Callable[[int], object],
) -> list[Score]:
    """Scores the images that have no score yet, and returns all scores in order.

    Args:
      reader: Reader of pixels uint8 [r, r, 3].
      folder: Where scores are saved.
      strict: Whether a bad image is an error.
      workers: Number of processes.
      report: Called with the number of images that were just scored.

    Raises:
      UserError: if an image is bad and `strict` is set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts: dict[int, list[Score]] = {}
    for path in sorted(folder.glob("*.json")):
        # A damaged one is made again.
        with suppress(ValueError, TypeError, RecursionError):
            rows = json.loads(path.read_text())
            parts[int(path.stem)] = [Score(**row) for row in rows]
            report(len(rows))
    for score in (score for part in parts.values() for score in part):
        if strict and score.score is None:
            raise refuse_bad(score.name, score.reason)
    missing = [k for k in range(-(-len(reader) // _PART)) if k not in parts]
    score_part = partial(_score_part, reader, folder, strict)
    for scores in call_for_each(score_part, missing, workers):
        parts[scores[0].index // _PART] = scores
        report(len(scores))
    return [score for k in sorted(parts) for score in parts[k]]


def _score_part(reader: Reader, folder: Path, strict: bool, part: int) -> list[Score]:
    first = part * _PART
    last = min(first + _PART, len(reader))
    scores = [_score(reader, index, strict) for index in range(first, last)]
    write_json(folder / f"{part:05d}.json", [asdict(score) for score in scores])
    return scores


def _score(reader: Reader, index: int, strict: bool) -> Score:
    try:
        item = reader[index]
    except BadImage as error:
        name = reader.name_of(index)
        if strict:
            raise refuse_bad(name, str(error)) from error
        return Score(index, name, None, str(error))
    assert not isinstance(item.data, bytes), "pixels, not a file"
    return Score(index, item.name, power_spectrum_score(item.data))


def keep_best(reader: Reader, scores: Sequence[Score], keep: int) -> Subset:
    """Returns the best images in the order of the source; of equal ones the first.

    Raises:
      UserError: if fewer than `keep` can be used.
    """
    usable = [score for score in scores if score.score is not None]
    if len(usable) < keep:
        raise UserError(
            f"--keep={keep}: only {len(usable):,} of {len(scores):,} photographs can "
            "be used; lower it"
        )
    best = sorted(usable, key=lambda score: -(score.score or 0.0))[:keep]
    return Subset(reader, sorted(score.index for score in best))


def write_scores(path: Path, scores: Sequence[Score], kept: Subset) -> None:
    """Writes image, score and whether it is kept (1 or 0), in the source's order."""
    chosen = set(kept.indices)
    rows = [
        [printable(score.name), f"{score.score:.6f}", int(score.index in chosen)]
        for score in scores
        if score.score is not None
    ]
    write_whole(path, csv_text([["image", "score", "kept"], *rows]))
