"""What another program learns in a time: `python -m benchmarks.peer_quality`.

Trains another program on a set that prepare_data wrote, by benchmarks/peer_training.py,
in one thread for --seconds of CPU time; prints the sliced Wasserstein distance of its
samples, and of those of a run of ours, as a Markdown table.

    --data_dir=DIR --data=NAME     the prepared set
    --peer=NAME                    gan_zoo (pytorch_GAN_zoo) for recipes of Progressive
                                   GAN, style_based_gan (style-based-gan-pytorch) for
                                   those of StyleGAN
    --peer_path=DIR                its checkout; --peer_python has PyTorch
    --config=FILE                  a recipe, whose widths, latents and batch it has
    --run=RUN                      a run of ours, measured in the same way
    --out=DIR                      gets samples.npz, G.png and average.png
"""

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from ml_collections import config_flags

import progan_jax
from benchmarks.checkouts import PEER_PATH, PEER_PYTHON
from benchmarks.peer_flags import (
    PEERS_OF,
    check_family,
    check_peer_path,
    peer,
    peer_request,
)
from benchmarks.processes import ask
from progan_jax.data.index_stream import IndexStream
from progan_jax.data.prepared import load_prepared
from progan_jax.errors import UserError
from progan_jax.files import writing_to
from progan_jax.images import SMALLEST_LEVEL, tile, write_png
from progan_jax.inference.generator import TrainedGenerator
from progan_jax.metrics.swd import swd
from progan_jax.models.common import stage_resolutions
from progan_jax.runtime.command_line import run

CONFIG = config_flags.DEFINE_config_file("config", None, "Configuration file.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of prepared sets.")
DATA = flags.DEFINE_string("data", None, "Name of the set.")
SECONDS = flags.DEFINE_float("seconds", 600.0, "CPU time of training.", 1)
RUN = flags.DEFINE_string("run", None, "A run of ours.")
OUT = flags.DEFINE_string("out", None, "Folder for the samples.")
SAMPLES = flags.DEFINE_integer("samples", 2048, "Number of images measured.", 16)

# By the name of --peer.
_TITLES = {
    "gan_zoo": "pytorch_GAN_zoo",
    "style_based_gan": "style-based-gan-pytorch",
}

# Wall time at most, on a machine whose cores other programs use as well.
_MOST_SLOWER, _START_SEC = 20, 300.0


def main() -> None:
    """Trains, measures and prints."""
    check_peer_path()
    for flag in (CONFIG, DATA_DIR, DATA, OUT, PEER_PATH):
        if not flag.value:
            raise UserError(f"--{flag.name} is missing: see --help")
    config: Any = CONFIG.value
    title = _title(config)
    if config.model.resolution < SMALLEST_LEVEL:
        raise UserError(
            f"config.model.resolution = {config.model.resolution} has no SWD; set "
            f"{SMALLEST_LEVEL} or more"
        )
    ours = progan_jax.load(RUN.value) if RUN.value else None
    folder, out = Path(DATA_DIR.value or "") / (DATA.value or ""), Path(OUT.value or "")
    levels = load_prepared(folder, "train", config.model.resolution).levels
    with writing_to("--out", out):
        out.mkdir(parents=True, exist_ok=True)
        sides = stage_resolutions(config.model.resolution)
        arrays: dict[str, Any] = {str(side): levels[side][:] for side in sides}
        np.savez(out / "images.npz", **arrays)
    answer = _train(config, out)
    print(json.dumps(answer))
    with np.load(out / "samples.npz") as file:
        samples = {name: file[name] for name in file}
    reals, others = _reals(arrays[str(sides[-1])])
    print("| images | SWD, average | by level |\n|---|---|---|")
    _print_row("real images", reals, others)
    for name, fakes in samples.items():
        write_png(out / f"{name}.png", tile(fakes[:64], 8))
        _print_row(f"{title}, {name}", reals, fakes)
    if ours is not None:
        _print_row(RUN.value or "", reals, _untruncated(ours))


def _title(config: Any) -> str:
    """Returns the other program's title.

    Raises:
      UserError: if it is not of the recipe's family, or is not trained here.
    """
    check_family(config.family)
    if peer() not in _TITLES:
        (other,) = _TITLES.keys() & PEERS_OF[config.family]
        raise UserError(f"--peer={peer()} is not trained; choose --peer={other}")
    return _TITLES[peer() or ""]


def _untruncated(generator: TrainedGenerator) -> np.ndarray:
    """Returns samples of ours, uint8, not truncated, as the other's are not."""
    psi = 1.0 if generator.num_layers else None
    images = generator.sample(SAMPLES.value, seed=1, truncation_psi=psi)
    return progan_jax.to_uint8(images)


def _train(config: Any, out: Path) -> dict[str, Any]:
    """Returns what the other program has done.

    Raises:
      UserError: if it fails.
    """
    program = str(Path(__file__).with_name("peer_training.py"))
    request = peer_request(config, config.model.resolution, SECONDS.value) | {
        "images": str(out.resolve() / "images.npz"),
        "out": str(out.resolve() / "samples.npz"),
        "num_samples": SAMPLES.value,
    }
    command = [PEER_PYTHON.value, program]
    most = _START_SEC + _MOST_SLOWER * SECONDS.value
    outcome = ask(command, request, most, {}, threading.Event())
    if outcome.status != "ok":
        raise UserError(f"--peer_python, --peer_path: {outcome.error}; fix that")
    return outcome.answer


def _reals(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns two sets of real images, without an image in common if there are enough.

    They follow one another in the order of a run of seed 0.
    """
    stream = IndexStream(0, len(images), mirror=False)
    indices, _ = stream.take(0, 2 * SAMPLES.value)
    return images[indices[: SAMPLES.value]], images[indices[SAMPLES.value :]]


def _print_row(name: str, reals: np.ndarray, fakes: np.ndarray) -> None:
    levels = swd(reals, fakes, seed=0)
    each = ", ".join(f"{side}: {value:.1f}" for side, value in levels.items())
    print(f"| {name} | {np.mean(list(levels.values())):.1f} | {each} |", flush=True)


if __name__ == "__main__":
    run(main)
