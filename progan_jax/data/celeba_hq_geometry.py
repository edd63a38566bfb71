"""Where a face lies in CelebA's photographs: landmarks and the square around it.

Points are (x, y), y down. A landmark names a pixel; the square counts from the image's
corner, so that pixel i spans i to i + 1. Source: Karras et al. 2018, appendix C.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from progan_jax.data.names import normal
from progan_jax.errors import UserError

_COLUMNS = [
    f"{part}_{axis}"
    for part in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
    for axis in "xy"
]


@dataclass(frozen=True, eq=False)
class Quad:
    """A square in an image, turned by any angle.

    Attributes:
      centre: float64 [2].
      x: From the centre to the middle of the right side, as the face is seen; float64
        [2].
      y: From the centre to the middle of the lower side; float64 [2].
    """

    centre: np.ndarray
    x: np.ndarray
    y: np.ndarray

    @property
    def corners(self) -> np.ndarray:
        """float64 [4, 2]: upper left, lower left, lower right, upper right."""
        c, x, y = self.centre, self.x, self.y
        return np.stack([c - x - y, c - x + y, c + x + y, c + x - y])

    @property
    def side(self) -> float:
        """Length of a side in pixels."""
        return 2 * math.hypot(*self.x)

    def moved(self, offset: np.ndarray) -> "Quad":
        """Returns the square moved by `offset` [2]."""
        return Quad(self.centre + offset, self.x, self.y)

    def scaled(self, factor: float) -> "Quad":
        """Returns the square as it lies in an image scaled by `factor`."""
        return Quad(self.centre * factor, self.x * factor, self.y * factor)


def read_landmarks(path: Path) -> dict[str, np.ndarray]:
    """Reads CelebA's list of landmarks in the photographs as they were found.

    The file is `list_landmarks_celeba.txt`: the number of images, the names of the ten
    columns, and for each image its file name and ten numbers.

    Returns:
      By file name in its normal spelling, float64 [5, 2] in pixels: left eye, right
      eye, nose, left and right corner of the mouth, left and right as the picture shows
      them.

    Raises:
      UserError: if the file cannot be read or a line is broken.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no readable list of landmarks: {error}") from error
    if len(lines) < 2 or not lines[0].strip().isdecimal():
        raise UserError(f"{path}, line 1: it must be the number of images, then lines")
    if lines[1].split() != _COLUMNS:
        raise UserError(f"{path}, line 2: the columns must be {' '.join(_COLUMNS)}")
    landmarks = {}
    for number, line in enumerate(lines[2:], start=3):
        name, points = _parse(line, f"{path}, line {number}")
        name = normal(name)
        if name in landmarks:
            raise UserError(f"{path}, line {number}: {name} is listed twice")
        landmarks[name] = points
    if len(landmarks) != int(lines[0]):
        raise UserError(
            f"{path}, line 1: {int(lines[0])} images are announced and "
            f"{len(landmarks)} listed; is the file complete?"
        )
    return landmarks


def crop_rectangle(landmarks: np.ndarray) -> Quad:
    """Returns the square that CelebA-HQ takes of a photograph.

    With e the way from the left eye to the right one, m the way from between the eyes
    to the middle of the mouth, and R(a, b) = (-b, a), a quarter turn:

        x = (e - R m) / |e - R m| * max(2 |e|, 1.8 |m|)
        y = R x
        centre = middle of the eyes + 0.1 m

    Args:
      landmarks: [5, 2] in pixels, in the order of `read_landmarks`.

    Raises:
      ValueError: if the landmarks have another shape, are not finite or give no
        direction, as where all of them are one point.

    Source: Karras et al. 2018, appendix C; the authors' program for the half pixel.
    """
    points = np.asarray(landmarks, np.float64)
    if points.shape != (5, 2) or not np.isfinite(points).all():
        raise ValueError(f"landmarks {points.tolist()} must be five points")
    # A landmark is a pixel; its middle lies half a pixel from its corner.
    left_eye, right_eye, _, left_mouth, right_mouth = points + 0.5
    eyes = (left_eye + right_eye) / 2
    across = right_eye - left_eye
    down = (left_mouth + right_mouth) / 2 - eyes
    half = max(2.0 * math.hypot(*across), 1.8 * math.hypot(*down))
    x = across - _quarter_turn(down)
    length = math.hypot(*x)
    if length <= 1e-6 * half:  # Also where both are 0.
        raise ValueError(f"landmarks {points.tolist()} give the face no direction")
    x *= half / length
    return Quad(eyes + 0.1 * down, x, _quarter_turn(x))


def _parse(line: str, place: str) -> tuple[str, np.ndarray]:
    name, *numbers = line.split() or [""]
    try:
        points = np.array([float(number) for number in numbers])
    except ValueError:
        points = np.array([])
    if len(points) != len(_COLUMNS) or not np.isfinite(points).all():
        raise UserError(
            f"{place}: it must be a file name and ten numbers, not {line!r}"
        )
    return name, points.reshape(5, 2)


def _quarter_turn(v: np.ndarray) -> np.ndarray:
    """Turns [2] from the image's right towards its bottom."""
    return np.array([-v[1], v[0]])
