"""The speed of preparing, reading and feeding images: `python -m benchmarks.data`.

Prints three Markdown tables. Sets of noise are prepared with one worker in a temporary
folder, then read in the order of the index stream: by one thread in large blocks, which
shows what a core can do, and as a run reads them, ahead and in threads. Noise does not
compress: levels that are stored as WebP are slower than those of photographs.

The second table is of a feed while a program keeps a device busy: how long the
host takes for the batches of a dispatch, which a run hides as long as the dispatch
before takes longer. The third is of preparing photographs, by the kind of source.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks.sources import source_rows
from progan_jax.data.feed import Feed, plan_feed
from progan_jax.data.index_stream import IndexStream
from progan_jax.data.prepared import RecordLevel
from progan_jax.data.pyramid import Pyramid
from progan_jax.data.streaming import PairStream
from progan_jax.prepare.readers import SyntheticReader
from progan_jax.prepare.writing import Settings, finish, write_pyramid
from progan_jax.runtime.command_line import run
from progan_jax.runtime.mesh import batched, make_mesh, replicated

SECONDS = flags.DEFINE_float("seconds", 5.0, "Time of every measurement.")

# Side, images of the set, and the largest side that is stored as pixels.
_SETS = [
    (4, 4000, 128),
    (32, 4000, 128),
    (128, 1000, 128),
    (256, 300, 128),
    (256, 300, 1024),
    (1024, 48, 128),
    (1024, 48, 1024),
]
_BATCH = 16
_PAIRS = 32  # Of a dispatch, less where their pixels are too many.


def main() -> None:
    """Measures every set and prints its rows."""
    fed = []
    print(f"{os.cpu_count()} cores\n")
    print(
        "| side | stored as | prepared, images/s | read, images/s by one core's second "
        "| by the clock | MiB/s |"
    )
    print("|---|---|---|---|---|---|")
    for side, num_images, raw_up_to in _SETS:
        with tempfile.TemporaryDirectory() as folder:
            prepared, level = _prepare(Path(folder), side, num_images, raw_up_to)
            stored = "pixels" if side <= raw_up_to else "WebP"
            by_core, rate = _read_alone(level), _read_ahead(level)
            mib = rate * level.nbytes / len(level) / 2**20
            print(
                f"| {side} | {stored} | {prepared:,.0f} | {by_core:,.0f} | "
                f"{rate:,.0f} | {mib:,.0f} |",
                flush=True,
            )
            fed += [_feed_row(level, stored, mode) for mode in ("resident", "streamed")]
    print("\n| side | stored as | feed | host, ms a pair | fed and taken, pairs/s |")
    print("|---|---|---|---|---|")
    print("\n".join(fed))
    print("\n| source | files | prepared, images/s by one core's second |")
    print("|---|---|---|")
    print("\n".join(source_rows()))


def _prepare(
    folder: Path, side: int, num_images: int, raw_up_to: int
) -> tuple[float, RecordLevel]:
    """Returns images per second of one worker, and the largest level."""
    reader = SyntheticReader(num_images, side)
    settings = Settings(side, raw_up_to=raw_up_to)
    started = time.perf_counter()
    shards = write_pyramid(reader, folder / "set", settings, {}, 1, lambda shard: None)
    seconds = time.perf_counter() - started
    finish(folder / "set", reader, settings, {}, shards)
    return num_images / seconds, RecordLevel(folder / "set", side, num_images, 3)


def _read_alone(level: RecordLevel) -> float:
    """Returns images read for each second that a core spent on it."""
    count = min(max(2**23 * len(level) // level.nbytes, 1), 512)
    indices = np.random.default_rng(0).integers(0, len(level), count)
    level[indices]  # Opens the files.

    def read() -> int:
        level[indices]
        return count

    return _rate(read, time.process_time)


def _read_ahead(level: RecordLevel) -> float:
    """Returns images per second, read by threads in the order of the index stream."""
    pairs = PairStream(
        level,
        IndexStream(0, len(level), False),
        d_repeats=1,
        batch_size=_BATCH,
        rows=np.arange(_BATCH),
        workers=0,
    )
    nimg = 0

    def read() -> int:
        nonlocal nimg
        pairs.take(nimg, 1)
        nimg += _BATCH
        return _BATCH

    # What was read ahead before the clock started must not count.
    _rate(read, time.perf_counter)
    rate = _rate(read, time.perf_counter)
    pairs.close()
    return rate


def _feed_row(level: RecordLevel, stored: str, mode: str) -> str:
    """Returns the row of a feed whose batches a device takes, pair by pair."""
    side, mesh = level.shape[1], make_mesh()
    plan = plan_feed(
        level.shape,
        batch_size=_BATCH,
        d_repeats=1,
        max_pairs=_PAIRS,
        mode=mode,  # pyright: ignore[reportArgumentType]
    )
    feed = Feed(
        Pyramid("noise", {side: level}, None, 0, ""),
        IndexStream(0, len(level), mirror=True),
        plan,
        replicated=replicated(mesh),
        batched=batched(mesh, axis=2),
    )
    num_pairs, nimg, host = feed.max_pairs, 0, 0.0

    @jax.jit
    def take_all(batches: object) -> jax.Array:
        """Gathers every pair, as the steps do, and touches every pixel."""
        take = batches.take  # pyright: ignore[reportAttributeAccessIssue]
        return sum(
            jnp.sum(take(i, jnp.int32(0))[0], dtype=jnp.int32) for i in range(num_pairs)
        )

    busy = take_all(feed.batches(0, num_pairs))

    def dispatch() -> int:
        nonlocal busy, nimg, host
        nimg += num_pairs * _BATCH
        started = time.perf_counter()
        batches = feed.batches(nimg, num_pairs)
        host += time.perf_counter() - started
        following = take_all(batches)
        busy.block_until_ready()
        busy = following
        return num_pairs

    _rate(dispatch, time.perf_counter)
    host, first = 0.0, nimg
    rate = _rate(dispatch, time.perf_counter)
    feed.close()
    milliseconds = 1000 * host / ((nimg - first) / _BATCH)
    return f"| {side} | {stored} | {mode} | {milliseconds:.3f} | {rate:,.0f} |"


def _rate(work: Callable[[], int], clock: Callable[[], float]) -> float:
    """Returns the amount of work that `work` reports, per second of a clock."""
    done, started, begun = 0, clock(), time.perf_counter()
    while time.perf_counter() - begun < SECONDS.value:
        done += work()
    return done / (clock() - started)


if __name__ == "__main__":
    run(main)
