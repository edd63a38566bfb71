"""Trains another program for some seconds; `benchmarks.peer_quality` starts it.

Its networks, steps and fades grow by the iterations of its standard schedule, all made
shorter by one factor. They are computed from the time of a few iterations at each
scale. It runs in one thread, and counts its CPU time.

Reads a request as JSON from the standard input: that of benchmarks/peers.py, and
"images", an .npz of uint8 [n, r, r, channels] by resolution, "num_samples", and "out",
an .npz for as many samples of "G" and of "average", its moving average. Prints what it
did as JSON. Needs PyTorch and NumPy, and nothing of ours: another Python may run it.
"""

import contextlib
import json
import os
import random
import sys
import time
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from trained_peers import PROGRAMS, Schedule, Trained

_TIMED = 4  # Iterations at each scale.


def train(request: dict[str, Any], images: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Trains, writes samples, and returns kimg and seconds."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    random.seed(0)
    rng = np.random.default_rng(0)
    factor = _factor(request, images, rng)
    gan, kimg, started = PROGRAMS[request["peer"]](request), 0.0, time.process_time()
    schedule = gan.schedule
    for scale in _scales(schedule, request):
        if scale > schedule.start:
            gan.grow()
        count = _iterations(schedule, scale, factor)
        fade = round(schedule.fade * factor) if scale > schedule.start else 0
        every = max(fade // schedule.jumps, 1)
        for i in range(count):
            if i == fade or (i < fade and i % every == 0):
                gan.fade(i / fade if fade else 1.0)
            gan.step(_batch(images, scale, request["batch"], rng))
        kimg += count * request["batch"] / 1000
    seconds = time.process_time() - started
    _write_samples(gan, request)
    return {"kimg": kimg, "cpu_sec": seconds, "torch": torch.__version__}


def _factor(
    request: dict[str, Any], images: Mapping[str, np.ndarray], rng: np.random.Generator
) -> float:
    """Returns the share of the standard iterations that the seconds are enough for."""
    gan, total = PROGRAMS[request["peer"]](request), 0.0
    for scale in _scales(gan.schedule, request):
        if scale > gan.schedule.start:
            gan.grow()
        batch = _batch(images, scale, request["batch"], rng)
        gan.step(batch)
        started = time.process_time()
        for _ in range(_TIMED):
            gan.step(batch)
        each = (time.process_time() - started) / _TIMED
        total += each * _iterations(gan.schedule, scale, 1.0)
    return request["seconds"] / total


def _scales(schedule: Schedule, request: dict[str, Any]) -> range:
    return range(schedule.start, len(request["widths"]))


def _iterations(schedule: Schedule, scale: int, factor: float) -> int:
    standard = schedule.others if scale > schedule.start else schedule.first
    return max(round(standard * factor), 1)


def _batch(
    images: Mapping[str, np.ndarray], scale: int, number: int, rng: np.random.Generator
) -> torch.Tensor:
    """Returns real images [n, channels, side, side] in [-1, 1]."""
    level = images[str(4 << scale)]
    chosen = level[rng.integers(0, len(level), number)]
    return torch.from_numpy(chosen).permute(0, 3, 1, 2).float() / 127.5 - 1


def _write_samples(gan: Trained, request: dict[str, Any]) -> None:
    count, samples = request["num_samples"], {"G": [], "average": []}
    with torch.no_grad():
        for start in range(0, count, 64):
            for name, images in gan.sample(min(64, count - start)).items():
                samples[name].append(_to_uint8(images))
    arrays: dict[str, Any] = {k: np.concatenate(parts) for k, parts in samples.items()}
    np.savez(request["out"], **arrays)


def _to_uint8(images: torch.Tensor) -> np.ndarray:
    pixels = np.rint((images.permute(0, 2, 3, 1).numpy() + 1) * 127.5)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def main() -> None:
    """Answers one request."""
    warnings.simplefilter("ignore")
    request = json.load(sys.stdin)
    sys.path.insert(0, request["path"])
    # It prints every change of alpha.
    with contextlib.redirect_stdout(open(os.devnull, "w")):
        with np.load(request["images"]) as file:
            images = {name: file[name] for name in file}
        answer = train(request, images)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
