"""Runs one case of benchmarks.accelerator in a process of its own.

Reads a request as JSON from the standard input and prints what it finds as it comes, a
JSON object a line: what is there when the process is ended counts.
"""

import hashlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from benchmarks.kernel_counts import count_compiled
from benchmarks.ours import Stage, prepare, seconds_of_pair
from benchmarks.profiles import profile
from benchmarks.roofline import floors, measure_peaks
from benchmarks.several_seeds import measure
from progan_jax.runtime.compiler import memory, set_precision
from progan_jax.runtime.environment import environment
from progan_jax.training.config import make_networks, make_schedule

_PROFILED_PAIRS = 8
_PROFILED_SECONDS = 1.0
_REPEATED_PAIRS = 8
_DRIVER = Path("/proc/driver/nvidia/version")

Found = Iterator[dict[str, Any]]
_hits: list[float] = []  # The times when a program came from the cache.


def device(request: dict[str, Any]) -> Found:
    """Yields what is measured on, then its peaks by dtype.

    On a CPU only float32 has a peak: other dtypes would take minutes.
    """
    del request
    first = jax.devices()[0]
    driver = _DRIVER.read_text().splitlines()[0] if _DRIVER.exists() else None
    yield {
        **environment(),
        "device": first.device_kind,
        "platform": first.platform,
        "platform_version": first.client.platform_version,
        "driver": driver,
    }
    peaks = {}
    for dtype in ("float32",) if first.platform == "cpu" else ("bfloat16", "float32"):
        peaks[dtype] = vars(measure_peaks(dtype))
        yield {"peaks": peaks}


def steps(request: dict[str, Any]) -> Found:
    """Yields the cost of compiling, then the time of a pair, then a profile."""
    config, resolution = _config(request), request["resolution"]
    stage = prepare(config, resolution)
    yield _compiled(config, resolution, stage)
    seconds = seconds_of_pair(stage, request["seconds"])
    yield {"ms": 1000 * seconds}
    if request["profile"]:
        most = min(stage.program.max_pairs, _PROFILED_PAIRS)
        pairs = max(min(int(_PROFILED_SECONDS / seconds), most), 1)
        hlo = stage.compiled.as_text() or ""
        yield {"profile": profile(lambda: stage.start(pairs), hlo, pairs)}


def seeds(request: dict[str, Any]) -> Found:
    """Yields the rates of several seeds in one program."""
    config, resolution = _config(request), request["resolution"]
    rows: list[dict[str, float]] = []
    for number in request["seeds"]:
        compile_sec, rate = measure(config, resolution, number, request["seconds"])
        # For one pair of every seed.
        ms = 1000 * number / rate
        rows.append({"seeds": number, "ms": ms, "compile_sec": compile_sec})
        yield {"rows": rows}


def deterministic(request: dict[str, Any]) -> Found:
    """Yields whether two runs of eight pairs have the same bits, then the time."""
    config, resolution = _config(request), request["resolution"]
    stage = prepare(config, resolution)
    yield _compiled(config, resolution, stage)
    digests = [_digest_of_run(stage) for _ in range(2)]
    yield {"digests": digests, "same_bits": len(set(digests)) == 1}
    yield {"ms": 1000 * seconds_of_pair(stage, request["seconds"])}


def _config(request: dict[str, Any]) -> Any:
    config = ml_collections.ConfigDict(request["config"])
    set_precision(config)
    return config


def _compiled(config: Any, resolution: int, stage: Stage) -> dict[str, Any]:
    batch = make_schedule(config).batch_size[resolution]
    return {
        "images": make_schedule(config).pair_nimg(resolution),
        "compile_sec": stage.compile_sec,
        # Of the steps alone: smaller programs are shared by many cases.
        "from_cache": sum(hit > stage.started for hit in _hits),
        "peak_bytes": memory(stage.compiled),
        "floors": vars(floors(*make_networks(config, resolution, batch), batch)),
        "compiled": count_compiled(stage.compiled.as_text() or ""),
    }


def _digest_of_run(stage: Stage) -> str:
    """Returns a digest of the state after eight pairs from the start."""
    stage.state, left = stage.program.create(), _REPEATED_PAIRS
    while left:
        pairs = min(left, stage.program.max_pairs)
        stage.start(pairs)
        left -= pairs
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(stage.state):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()


KINDS = {kind.__name__: kind for kind in (device, steps, seeds, deterministic)}


def _note(event: str, **_: Any) -> None:
    if event == "/jax/compilation_cache/cache_hits":
        _hits.append(time.perf_counter())


def main() -> None:
    """Answers one request."""
    request = json.load(sys.stdin)
    jax.monitoring.register_event_listener(_note)
    for found in KINDS[request["kind"]](request):
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
