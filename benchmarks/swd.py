"""The speed of the sliced Wasserstein distance: `python -m benchmarks.swd`.

Prints a Markdown table: this project's, and the plain NumPy and SciPy program that its
tests compare it with, on the same noise, one after the other. --large adds the
published number of images at 128x128, for this project's alone.
"""

import os
import time

import jax
import numpy as np
from absl import flags

from progan_jax.metrics.swd import distances, draw_patches
from progan_jax.runtime.command_line import run
from tests.metrics import plain_swd

LARGE = flags.DEFINE_bool("large", False, "Add 16,384 images of 128x128.")


def main() -> None:
    """Measures every size and prints its row."""
    print(f"{os.cpu_count()} cores, {jax.devices()[0].device_kind}\n")
    print(
        "| images | side | patches, s | distances, s | in all, s | plain, s | ratio |"
    )
    print("|---|---|---|---|---|---|---|")
    for num_images, side in ((2048, 32), (512, 128)):
        reals, fakes = _noise(num_images, side)
        _measure(reals[:64], fakes[:64])  # Compiles.
        drawn, compared = _measure(reals, fakes)
        started = time.perf_counter()
        plain_swd.swd(reals, fakes, np.random.default_rng(0))
        plain = time.perf_counter() - started
        ratio = f"{plain:.1f} | {plain / (drawn + compared):.1f}"
        _print_row(num_images, side, drawn, compared, ratio)
    if LARGE.value:
        _print_row(16384, 128, *_measure(*_noise(16384, 128)), " | ")


def _noise(num_images: int, side: int) -> np.ndarray:
    shape = (2, num_images, side, side, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def _measure(reals: np.ndarray, fakes: np.ndarray) -> tuple[float, float]:
    """Returns the seconds of drawing the patches of both, and of comparing them."""
    started = time.perf_counter()
    drawn = [draw_patches(x, seed=0, number=i) for i, x in enumerate((reals, fakes))]
    between = time.perf_counter()
    distances(*drawn, seed=0)
    return between - started, time.perf_counter() - between


def _print_row(
    num_images: int, side: int, drawn: float, compared: float, rest: str
) -> None:
    print(
        f"| {num_images:,} | {side} | {drawn:.1f} | {compared:.1f} | "
        f"{drawn + compared:.1f} | {rest} |",
        flush=True,
    )


if __name__ == "__main__":
    run(main)
