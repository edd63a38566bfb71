"""How fast images are prepared and read: `python -m benchmarks.data`.

Prints a Markdown table. Sets of noise are prepared with one worker in a temporary
folder; then pairs of 16 images are read in the order of the index stream. Noise does
not compress, which PNG feels: levels that are stored so are slower than photographs'.
"""

import os
import tempfile
import time
from pathlib import Path

from absl import app, flags

from progan_jax.data.index_stream import IndexStream
from progan_jax.data.levels import RecordLevel
from progan_jax.data.readers import SyntheticReader
from progan_jax.data.shards import Settings
from progan_jax.data.streaming import PairStream
from progan_jax.data.writing import finish, write_pyramid

SECONDS = flags.DEFINE_float("seconds", 5.0, "Time to read for, at every resolution.")

# Side, images of the set, and the largest side that is stored as pixels.
_SETS = [
    (32, 4000, 128),
    (128, 1000, 128),
    (256, 300, 128),
    (256, 300, 1024),
    (1024, 48, 128),
    (1024, 48, 1024),
]
_BATCH = 16


def main(argv: list[str]) -> None:
    """Measures every set and prints its row."""
    del argv
    print(f"{os.cpu_count()} cores\n")
    print("| side | stored as | prepared, images/s | read, images/s | read, MiB/s |")
    print("|---|---|---|---|---|")
    for side, num_images, raw_up_to in _SETS:
        with tempfile.TemporaryDirectory() as folder:
            prepared, level = _prepare(Path(folder), side, num_images, raw_up_to)
            rate = _read(level)
        stored = "pixels" if side <= raw_up_to else "PNG"
        mib = rate * level.nbytes / len(level) / 2**20
        print(f"| {side} | {stored} | {prepared:,.0f} | {rate:,.0f} | {mib:,.0f} |")


def _prepare(
    folder: Path, side: int, num_images: int, raw_up_to: int
) -> tuple[float, RecordLevel]:
    """Returns images per second of one worker, and the largest level."""
    reader, settings = (
        SyntheticReader(num_images, side),
        Settings(side, raw_up_to=raw_up_to),
    )
    started = time.perf_counter()
    shards = write_pyramid(reader, folder / "set", settings, {}, 1, lambda shard: None)
    seconds = time.perf_counter() - started
    finish(folder / "set", reader, settings, {}, shards)
    return num_images / seconds, RecordLevel(folder / "set", side, num_images, 3)


def _read(level: RecordLevel) -> float:
    """Returns images per second, read by threads in the order of the index stream."""
    pairs = PairStream(level, IndexStream(0, len(level), False), _BATCH, workers=0)
    pairs.take(0, 1)
    nimg, started = _BATCH, time.perf_counter()
    while (seconds := time.perf_counter() - started) < SECONDS.value:
        pairs.take(nimg, 1)
        nimg += _BATCH
    pairs.close()
    return (nimg - _BATCH) / seconds


if __name__ == "__main__":
    app.run(main)
