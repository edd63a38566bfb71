"""CelebA-HQ: upright, aligned faces from CelebA's photographs and landmarks.

Points are (x, y), y down. A landmark is the index of a pixel; rectangles are measured
from the image's corner, so that pixel i spans i to i + 1.

Source: Karras et al. 2018, appendix C. The paper's two learned steps, which are not
public, are functions that the caller may provide. The padding is our own, see `_pad`.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps, ImageStat

from progan_jax.data.decoding import BadImage, decode
from progan_jax.data.names import normal
from progan_jax.errors import UserError
from progan_jax.prepare.file_reader import FileReader
from progan_jax.prepare.readers import Item, Reader

_COLUMNS = [
    f"{part}_{axis}"
    for part in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
    for axis in "xy"
]


@dataclass(frozen=True, eq=False)
class Quad:
    """A square in an image, rotated by any angle.

    Attributes:
      centre: float64 [2].
      x: From the centre to the middle of the right side of the upright face; float64
        [2].
      y: From the centre to the middle of its lower side; float64 [2].
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
        """Returns the square moved by `offset`, [2]."""
        return Quad(self.centre + offset, self.x, self.y)

    def scaled(self, factor: float) -> "Quad":
        """Returns the square in the image scaled by `factor`."""
        return Quad(self.centre * factor, self.x * factor, self.y * factor)


def read_landmarks(path: Path) -> dict[str, np.ndarray]:
    """Reads CelebA's list of landmarks in the unaligned photographs.

    The file is `list_landmarks_celeba.txt`: the number of images, the names of the ten
    columns, and for each image its file name and ten numbers.

    Returns:
      By file name (see `names.normal`), float64 [5, 2] in pixels: left eye, right eye,
      nose, left and right corner of the mouth, left and right in the picture.

    Raises:
      UserError: if the file cannot be read or a line is damaged.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}; download it again") from error
    if "".join(lines[1:2]).split() != _COLUMNS:
        raise UserError(f"{path}, line 2: the columns must be {' '.join(_COLUMNS)}")
    landmarks = {}
    for number, line in enumerate(lines[2:], start=3):
        name, points = _parse(line, f"{path}, line {number}")
        landmarks[normal(name)] = points
    if lines[0].strip() != str(len(landmarks)):
        raise UserError(
            f"{path}: {lines[0].strip()!r} images are announced and {len(landmarks)} "
            "listed; download it again"
        )
    return landmarks


def crop_rectangle(landmarks: np.ndarray) -> Quad:
    """Returns the square that CelebA-HQ cuts out of a photograph.

    With e the vector from the left eye to the right one, m the vector from the middle
    of the eyes to the middle of the mouth, and R(a, b) = (-b, a), a quarter turn:

        x = (e - R m) / |e - R m| * max(2 |e|, 1.8 |m|)
        y = R x
        centre = middle of the eyes + 0.1 m

    Args:
      landmarks: [5, 2] in pixels, in the order of `read_landmarks`.

    Raises:
      ValueError: if the landmarks have another shape, are not finite or give no
        direction, such as five times one point.

    Source: Karras et al. 2018, appendix C; the half pixel is that of create_celebahq in
    the authors' dataset_tool.py.
    """
    points = np.asarray(landmarks, np.float64)
    if points.shape != (5, 2) or not np.isfinite(points).all():
        raise ValueError(f"landmarks {points.tolist()} must be five points")
    # A landmark is a pixel, whose middle is half a pixel from its corner.
    left_eye, right_eye, _, left_mouth, right_mouth = points + 0.5
    eyes = (left_eye + right_eye) / 2
    across = right_eye - left_eye
    down = (left_mouth + right_mouth) / 2 - eyes
    half = max(2.0 * math.hypot(*across), 1.8 * math.hypot(*down))
    x = across - _quarter_turn(down)
    length = math.hypot(*x)
    if length <= 1e-6 * half:  # Also if both are 0.
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
    """Rotates [2] by a right angle, from the image's right towards its bottom."""
    return np.array([-v[1], v[0]])


# uint8 [h, w, 3] to uint8 [f * h, f * w, 3]; f is 1 for `clean`.
ImageFunction = Callable[[np.ndarray], np.ndarray]

# Lengths in sides of the crop rectangle.
_CONTEXT = 0.1  # Surroundings that are kept, for `enlarge` and the mirror.

_BLUR_STDDEV = 0.025

_BLUR_REACH = 0.1  # Distance from the image where the blur is complete.

_FADE_REACH = 0.5  # Distance from the image where only the median colour is left.

_GAP = 8  # Pixels between the panels of a drawing.

_CAPTION = 20  # Pixels over them.

_MARK = (255, 0, 0)


def align_face(image: np.ndarray, landmarks: np.ndarray, **options: Any) -> np.ndarray:
    """Cuts the square around a face out of a photograph and turns it upright.

    Arguments and errors are those of `alignment_steps`.

    Returns:
      uint8 [resolution, resolution, 3].
    """
    # The images on the way are large: only the latest is kept.
    return deque(alignment_steps(image, landmarks, **options), maxlen=1).pop()[1]


def alignment_steps(
    image: np.ndarray,
    landmarks: np.ndarray,
    *,
    resolution: int = 1024,
    oversample: int = 4,
    clean: ImageFunction | None = None,
    enlarge: ImageFunction | None = None,
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the images on the way to an aligned face, which is the last, by name.

    The square is sampled linearly at `oversample` times the resolution and reduced by a
    Lanczos filter. Where it leaves the image, the image is mirrored, blurred and faded.
    A square of at least twice the sampled side is first shrunk by a whole factor.

    Args:
      image: uint8 [h, w, 3].
      landmarks: [5, 2] in pixels, in the order of `read_landmarks`.
      resolution: Wanted side in pixels.
      oversample: Sampled points for each wanted pixel, along a side.
      clean: Removes JPEG artefacts (in the paper a learned autoencoder) from the image:
        uint8 [h, w, 3] to the same shape and type. None leaves them.
      enlarge: Super-resolution (in the paper learned, 4 times) around the square, uint8
        [h, w, 3] to [f * h, f * w, 3] for any whole f. None lets the sampling do it.

    Yields:
      Name and uint8 [h, w, 3] of "original", "cleaned", "cropped" (to the surroundings
      of the square), "enlarged", "shrunk", "padded", "sampled" and "aligned". Steps
      that have nothing to do are omitted.

    Raises:
      ValueError: if the image is not uint8 [h, w, 3], the landmarks are unusable or the
        square misses the image, or if `clean` or `enlarge` returns another shape.

    Source: Karras et al. 2018, appendix C. Differences: docs/fidelity.md.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an image of {_kind(image)} must be uint8 [h, w, 3]")
    quad = crop_rectangle(landmarks)
    yield "original", image
    if clean is not None:
        image = _apply(clean, "clean", image)
        yield "cleaned", image
    image, quad = _crop(image, quad)
    yield "cropped", image
    if enlarge is not None:
        larger = _apply(enlarge, "enlarge", image)
        image, quad = larger, quad.scaled(larger.shape[1] // image.shape[1])
        yield "enlarged", image
    sampled = resolution * oversample
    if quad.side >= 2 * sampled:
        image, quad = _shrink(image, quad, int(quad.side / sampled))
        yield "shrunk", image
    if (quad.corners < 0).any() or (quad.corners > image.shape[1::-1]).any():
        image, quad = _pad(image, quad)
        yield "padded", image
    face = _sample(image, quad, sampled)
    yield "sampled", np.asarray(face)
    face = face.resize((resolution, resolution), Image.Resampling.LANCZOS)
    yield "aligned", np.asarray(face)


def _sample(image: np.ndarray, quad: Quad, side: int) -> Image.Image:
    corners = quad.corners.ravel().tolist()
    return Image.fromarray(image).transform(
        (side, side), Image.Transform.QUAD, corners, Image.Resampling.BILINEAR
    )


def _shrink(image: np.ndarray, quad: Quad, factor: int) -> tuple[np.ndarray, Quad]:
    """Takes means of blocks, which may be partial at the right and lower edge."""
    return np.asarray(Image.fromarray(image).reduce(factor)), quad.scaled(1 / factor)


def draw_steps(
    steps: dict[str, np.ndarray], landmarks: np.ndarray, *, panel: int = 512
) -> np.ndarray:
    """Draws images side by side; landmarks and crop rectangle are drawn on the first.

    Args:
      steps: uint8 [h, w, 3] by name, from `alignment_steps`.
      landmarks: [5, 2] in pixels of the first image.
      panel: Side in pixels of the square that each image is fitted into.

    Returns:
      uint8 [panel + 20, n * panel + (n - 1) * 8, 3], with names and sizes over the
      panels.
    """
    width = len(steps) * panel + (len(steps) - 1) * _GAP
    canvas = Image.new("RGB", (width, _CAPTION + panel), "white")
    for i, (name, image) in enumerate(steps.items()):
        if i == 0:
            fitted = _marked(image, landmarks, panel)
        else:
            fitted = ImageOps.contain(Image.fromarray(image), (panel, panel))
        left = i * (panel + _GAP)
        canvas.paste(fitted, (left, _CAPTION))
        caption = f"{name} {image.shape[1]}x{image.shape[0]}"
        ImageDraw.Draw(canvas).text((left, 4), caption, fill="black")
    return np.asarray(canvas)


def _apply(function: ImageFunction, name: str, image: np.ndarray) -> np.ndarray:
    """Calls `clean` or `enlarge` and checks the shape that it returns."""
    h, w, _ = image.shape
    result = function(image)
    factor = max(len(result) // h, 1) if name == "enlarge" else 1
    if result.dtype != np.uint8 or result.shape != (factor * h, factor * w, 3):
        rule = "the same shape" if name == "clean" else "a whole multiple of it"
        raise ValueError(
            f"{name} made {_kind(result)} of {_kind(image)}; it must return uint8 of "
            f"{rule}"
        )
    return result


def _crop(image: np.ndarray, quad: Quad) -> tuple[np.ndarray, Quad]:
    """Cuts out the square and its surroundings."""
    size = image.shape[1::-1]
    context = _CONTEXT * quad.side
    low = np.clip(np.floor(quad.corners.min(axis=0) - context), 0, size).astype(int)
    high = np.clip(np.ceil(quad.corners.max(axis=0) + context), 0, size).astype(int)
    if (low >= high).any():
        raise ValueError(f"the crop rectangle misses the image of {_kind(image)}")
    cropped = image[low[1] : high[1], low[0] : high[0]]
    return cropped, quad.moved(-low)


def _pad(image: np.ndarray, quad: Quad) -> tuple[np.ndarray, Quad]:
    """Pads the image as far as the square reaches: mirrored, blurred and faded.

    With o the distance from the image in sides of the square, s(t) the smooth step
    t^2 (3 - 2 t) of t clipped to [0, 1], M the mirrored image, and B the blurred M:

        N = M + s(o / 0.1) (B - M)
        padded = N + s(o / 0.5) (median colour - N)

    so that the pixels of the image stay, and its edge is continuous. The standard
    deviation of the blur is 0.025 sides; the median is that of the image's pixels.

    Source: the paper mirrors and blurs, without a formula; this one is ours.
    """
    size = np.array(image.shape[1::-1])
    before = np.ceil(np.maximum(-quad.corners.min(axis=0), 0)).astype(int)
    after = np.ceil(np.maximum(quad.corners.max(axis=0) - size, 0)).astype(int)
    margins = ((before[1], after[1]), (before[0], after[0]), (0, 0))
    mirrored = Image.fromarray(np.pad(image, margins, mode="reflect"))
    # Pillow's blur is three box filters, fast for any deviation.
    blurred = mirrored.filter(ImageFilter.GaussianBlur(_BLUR_STDDEV * quad.side))
    median = tuple(ImageStat.Stat(Image.fromarray(image)).median)
    outside = np.hypot(
        _overhang(size[0], before[0], after[0])[None, :],
        _overhang(size[1], before[1], after[1])[:, None],
    )
    outside /= quad.side
    soft = Image.composite(blurred, mirrored, _weight(outside / _BLUR_REACH))
    plain = Image.new("RGB", mirrored.size, median)
    padded = Image.composite(plain, soft, _weight(outside / _FADE_REACH))
    return np.asarray(padded), quad.moved(before)


def _overhang(size: int, before: int, after: int) -> np.ndarray:
    """Returns the distance of each padded row or column from the image, in pixels."""
    index = np.arange(-before, size + after, dtype=np.float32)
    return np.maximum(np.maximum(-index, index - (size - 1)), 0)


def _weight(t: np.ndarray) -> Image.Image:
    """Returns the smooth step of [h, w] as a mask, 0 to 255."""
    t = np.minimum(t, 1)
    return Image.fromarray(np.rint(255 * t * t * (3 - 2 * t)).astype(np.uint8))


def _marked(image: np.ndarray, landmarks: np.ndarray, panel: int) -> Image.Image:
    """Draws an image with its landmarks and its rectangle, which may leave it."""
    quad = crop_rectangle(landmarks)
    size = np.array(image.shape[1::-1])
    low = np.minimum(quad.corners.min(axis=0), 0)
    extent = np.maximum(quad.corners.max(axis=0), size) - low
    scale = panel / extent.max()
    fitted = Image.new("RGB", _whole(extent * scale), "white")
    resized = Image.fromarray(image).resize(_whole(size * scale))
    fitted.paste(resized, _whole(-low * scale, least=0))
    draw = ImageDraw.Draw(fitted)
    outline = ((quad.corners - low) * scale).ravel().tolist()
    draw.polygon(outline, outline=_MARK, width=2)
    for x, y in (np.asarray(landmarks) + 0.5 - low) * scale:
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=_MARK)
    return fitted


def _whole(lengths: np.ndarray, least: int = 1) -> tuple[int, int]:
    x, y = np.maximum(np.rint(lengths), least).astype(int).tolist()
    return x, y


def _kind(image: np.ndarray) -> str:
    return f"{image.dtype} {list(image.shape)}"


class AlignedReader(Reader):
    """Faces cut from photographs, upright and of one size, in the order of names."""

    def __init__(self, path: Path, landmarks: Path, resolution: int) -> None:
        """Lists the photographs.

        Args:
          path: Folder or zip file of CelebA's photographs ("in the wild").
          landmarks: CelebA's list_landmarks_celeba.txt.
          resolution: Side of the faces.

        Raises:
          UserError: if either of them cannot be read.
        """
        self.name = "celeba_hq"
        self._files = FileReader(path)
        self.unread, self.remarks = self._files.unread, self._files.remarks
        self._landmarks = read_landmarks(landmarks)
        self._resolution = resolution

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Item:
        """Returns a face.

        Raises:
          BadImage: if the photograph is bad, or has no usable landmarks.
        """
        name, photograph, landmarks = self._open(index)
        try:
            face = align_face(photograph, landmarks, resolution=self._resolution)
        except ValueError as error:
            raise BadImage(str(error)) from error
        return Item(name, face, 0)

    def name_of(self, index: int) -> str:
        """Returns an image's name without reading it."""
        return self._files.name_of(index)

    def listing(self) -> Iterator[str]:
        """Yields the listing of the photographs, and their landmarks."""
        yield from self._files.listing()
        for name, points in self._landmarks.items():
            yield f"{name} {points.tolist()}"

    def times(self) -> Iterator[str]:
        """Yields the modification time of each photograph of a folder, in ns."""
        return self._files.times()

    def draw(self, name: str) -> np.ndarray:
        """Returns the steps of one photograph side by side, uint8 [h, w, 3].

        Raises:
          UserError: if there is no such photograph, or it cannot be aligned.
        """
        stems = [PurePosixPath(self.name_of(k)).stem for k in range(len(self))]
        stem = PurePosixPath(name).stem
        if stem not in stems:
            raise UserError(f"--explain_image={name}: there is no such photograph")
        try:
            _, photograph, landmarks = self._open(stems.index(stem))
            steps = dict(
                alignment_steps(photograph, landmarks, resolution=self._resolution)
            )
        except (BadImage, ValueError) as error:
            raise UserError(f"--explain_image={name}: {error}") from error
        return draw_steps(steps, landmarks)

    def _open(self, index: int) -> tuple[str, np.ndarray, np.ndarray]:
        item = self._files[index]
        landmarks = self._landmarks.get(normal(PurePosixPath(item.name).name))
        if landmarks is None:
            raise BadImage("it has no landmarks")
        assert isinstance(item.data, bytes), "of a file"
        return item.name, decode(item.data, channels=3), landmarks
