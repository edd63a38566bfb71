"""The size and speed of stored images: `python -m benchmarks.storage --faces=ZIP`.

Prints a Markdown table: bytes, and images that one core encodes and decodes, in several
encodings. Nothing is enlarged, which would make photographs too easy to compress: the
small images are squares of CelebA's aligned faces, the larger ones many of these side
by side, and squares of scikit-learn's two photographs (`pip install scikit-learn`).
"""

import io
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags
from PIL import Image

from progan_jax.data.decoding import decode, square
from progan_jax.images import tile
from progan_jax.prepare.file_reader import FileReader

FACES = flags.DEFINE_string("faces", None, "CelebA's aligned images, 89x109.")
SECONDS = flags.DEFINE_float("seconds", 1.0, "Time for each number, at least.")

_NUM_FACES = 512
_SIDE = 64


def _pillow(name: str, **options: Any) -> Callable[[np.ndarray], bytes]:
    def encode(image: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, name, **options)
        return buffer.getvalue()

    return encode


_ENCODINGS = {
    "pixels": np.ndarray.tobytes,
    "PNG, level 1": _pillow("PNG", compress_level=1),
    "PNG, level 6": _pillow("PNG", compress_level=6),
    "WebP, method 0": _pillow("WEBP", lossless=True, method=0, quality=0),
    "WebP, method 4": _pillow("WEBP", lossless=True, method=4),
}


def main(argv: list[str]) -> None:
    """Measures every encoding of every kind of image."""
    del argv
    print("| images | stored as | bytes per pixel | encoded/s | decoded/s |")
    print("|---|---|---|---|---|")
    faces = _faces(Path(FACES.value))
    for name, images in {
        "64, faces": list(faces),
        "256, 16 faces": _mosaics(faces, 4),
        "256, photographs": _photographs(256),
        "1024, 256 faces": _mosaics(faces, 16),
    }.items():
        for encoding, encode in _ENCODINGS.items():
            stored = [encode(image) for image in images]
            size = sum(map(len, stored)) / sum(image[..., 0].size for image in images)
            shape = images[0].shape
            for data, image in zip(stored, images, strict=True):
                if not np.array_equal(_decode(shape, encoding, data), image):
                    raise RuntimeError(f"{encoding} has lost something")
            row = [
                *(name, encoding, f"{size:.2f}"),
                f"{_rate(encode, images):,.0f}",
                f"{_rate(partial(_decode, shape, encoding), stored):,.0f}",
            ]
            print(f"| {' | '.join(row)} |")


def _decode(shape: tuple[int, ...], encoding: str, data: bytes) -> np.ndarray:
    """Reads an image as training does."""
    if encoding == "pixels":
        return np.frombuffer(data, np.uint8).reshape(shape).copy()
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def _rate(function: Callable[[Any], Any], arguments: list[Any]) -> float:
    """Returns calls per second of a core: other programs at work count little."""
    count, started = 0, time.process_time()
    while (seconds := time.process_time() - started) < SECONDS.value:
        function(arguments[count % len(arguments)])
        count += 1
    return count / seconds


def _faces(path: Path) -> np.ndarray:
    reader = FileReader(path)
    pixels = (decode(reader[i].data, 3) for i in range(_NUM_FACES))
    return np.stack([square(image, _SIDE, "celeba", "none") for image in pixels])


def _mosaics(faces: np.ndarray, side: int) -> list[np.ndarray]:
    """Lays `side` by `side` faces side by side."""
    return [
        tile(faces[start : start + side**2], side)
        for start in range(0, len(faces), side**2)
    ]


def _photographs(side: int) -> list[np.ndarray]:
    """Cuts squares out of scikit-learn's photographs."""
    from sklearn.datasets import load_sample_images

    return [
        photograph[:side, left : left + side]
        for photograph in load_sample_images().images
        for left in range(0, photograph.shape[1] - side + 1, side)
    ]


if __name__ == "__main__":
    app.run(main)
