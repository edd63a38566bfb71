"""Trains pytorch_GAN_zoo for some seconds; `benchmarks.peer_quality` starts it.

Its networks, steps and fades grow by the iterations of its standard configuration, all
made shorter by one factor. They are computed from the time of a few iterations at each
scale. It runs in one thread, and counts its CPU time.

Reads a request as JSON from the standard input: that of benchmarks/peers.py, and
"images", an .npz of uint8 [n, r, r, channels] by resolution, "num_samples", and "out",
an .npz for as many samples of "G" and of "average", its moving average. Prints what it
did as JSON. Needs PyTorch and NumPy, and nothing of ours: another Python may run it.
"""

import contextlib
import json
import os
import sys
import time
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from peers import gan_zoo_at_4x4
from torch.nn.functional import avg_pool2d, interpolate

# Iterations at 4x4 and at each larger scale, and those of a fade, in its
# models/trainer/standard_configurations/pgan_config.py.
_FIRST, _OTHERS, _FADE = 48_000, 96_000, 600 * 32
_JUMPS = 600  # Changes of alpha in a fade.
_TIMED = 4  # Iterations at each scale.


def train(request: dict[str, Any], images: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Trains, writes samples, and returns iterations and seconds by scale."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    factor = _factor(request, images, rng)
    gan, kimg, started = gan_zoo_at_4x4(request), 0.0, time.process_time()
    for scale, width in enumerate(request["widths"]):
        if scale:
            gan.addScale(width)
        side, count = 4 << scale, _iterations(scale, factor)
        fade = round(_FADE * factor) if scale else 0
        for i in range(count):
            # Its alpha is the weight of what was there before.
            alpha = max(1 - i / fade, 0.0) if fade else 0.0
            if i <= fade and i % max(fade // _JUMPS, 1) == 0:
                _fade(gan, alpha)
            gan.optimizeParameters(_batch(images, side, request["batch"], rng, alpha))
        kimg += count * request["batch"] / 1000
    seconds = time.process_time() - started
    _write_samples(gan, request)
    return {"kimg": kimg, "cpu_sec": seconds, "torch": torch.__version__}


def _factor(
    request: dict[str, Any], images: Mapping[str, np.ndarray], rng: np.random.Generator
) -> float:
    """Returns the share of the standard iterations that the seconds are enough for."""
    gan, total = gan_zoo_at_4x4(request), 0.0
    for scale, width in enumerate(request["widths"]):
        if scale:
            gan.addScale(width)
        batch = _batch(images, 4 << scale, request["batch"], rng, 0.0)
        gan.optimizeParameters(batch)
        started = time.process_time()
        for _ in range(_TIMED):
            gan.optimizeParameters(batch)
        each = (time.process_time() - started) / _TIMED
        total += each * _iterations(scale, 1.0)
    return request["seconds"] / total


def _fade(gan: Any, alpha: float) -> None:
    """Does what its `updateAlpha` does, which fails without a GPU."""
    for network in (gan.getOriginalG(), gan.getOriginalD(), gan.getOriginalAvgG()):
        network.setNewAlpha(alpha)
    gan.config.alpha = alpha


def _iterations(scale: int, factor: float) -> int:
    return max(round((_OTHERS if scale else _FIRST) * factor), 1)


def _batch(
    images: Mapping[str, np.ndarray],
    side: int,
    number: int,
    rng: np.random.Generator,
    alpha: float,
) -> torch.Tensor:
    """Returns real images, faded as its trainer does, [n, channels, side, side]."""
    level = images[str(side)]
    chosen = level[rng.integers(0, len(level), number)]
    reals = torch.from_numpy(chosen).permute(0, 3, 1, 2).float() / 127.5 - 1
    if alpha:
        low = interpolate(avg_pool2d(reals, 2), scale_factor=2)
        reals = alpha * low + (1 - alpha) * reals
    return reals


def _write_samples(gan: Any, request: dict[str, Any]) -> None:
    count, samples = request["num_samples"], {"G": [], "average": []}
    with torch.no_grad():
        for start in range(0, count, 64):
            noise, _ = gan.buildNoiseData(min(64, count - start))
            samples["G"].append(_to_uint8(gan.test(noise)))
            samples["average"].append(_to_uint8(gan.test(noise, getAvG=True)))
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
