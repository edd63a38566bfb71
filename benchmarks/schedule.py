"""The time that growing saves: `python -m benchmarks.schedule --config=FILE`.

After the BENCHMARK preset of the authors' program: the complete schedule by `train`,
with 3 kimg to each half of a stage, on noise in a temporary folder; then as many images
at the final resolution alone. Growth, checkpoints and the rest of a run are included.
With a few kimg each stage weighs the same and compilation much: for what a real
schedule saves see the projection of benchmarks.train_step.

    --kimg_per_stage=1   length of a fade and of training without one
"""

import contextlib
import copy
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import jax
from absl import flags
from ml_collections import config_flags

from benchmarks.stage_times import Stages, by_stage, ratios, table
from progan_jax.errors import UserError
from progan_jax.models.common import stage_resolutions
from progan_jax.prepare.readers import SyntheticReader
from progan_jax.prepare.writing import Settings, finish, write_pyramid
from progan_jax.runtime.command_line import run
from progan_jax.runtime.compiler import set_precision
from progan_jax.runtime.logging import read_rows
from progan_jax.train import train
from progan_jax.training.config import make_schedule

CONFIG = config_flags.DEFINE_config_file("config", None, "Configuration file.")
KIMG = flags.DEFINE_float("kimg_per_stage", 3.0, "Of a fade, and of the time after it.")

_NUM_IMAGES = 128
_NEVER = 10**9  # Ticks; the end of a stage saves all the same.
_COMPILED = "/jax/core/compile/backend_compile_duration"


def main() -> None:
    """Trains twice and prints both tables and the ratios."""
    config: Any = CONFIG.value
    # A cached program would be loaded in the time that is reported as compilation.
    jax.config.update("jax_enable_compilation_cache", False)
    set_precision(config)
    _shorten(config)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_noise(config, folder)
        growing = _train(config, folder / "growing")
        print("growing:\n", *table(growing), "", sep="\n", flush=True)
        still = copy.deepcopy(config)
        still.schedule.start_resolution = config.model.resolution
        still.schedule.total_kimg = make_schedule(config).end_nimg() / 1000
        fixed = _train(still, folder / "still")
        print("not growing:\n", *table(fixed), "", sep="\n", flush=True)
    print(ratios(growing, fixed))


def _shorten(config: Any) -> None:
    """Makes it the authors' benchmark; the rest of the recipe stays."""
    kimg = KIMG.value
    if not kimg > 0:
        raise UserError(f"--kimg_per_stage={kimg:g} must be above 0; raise it")
    if config.model.channels != 3 or config.model.num_classes:
        raise UserError(
            f"config.model.channels = {config.model.channels}, num_classes = "
            f"{config.model.num_classes}: the noise is RGB without classes; set them "
            "to 3 and 0"
        )
    config.schedule.start_resolution = 4
    stages = len(stage_resolutions(config.model.resolution))
    config.schedule.stabilise_kimg = config.schedule.fade_kimg = str(kimg)
    config.schedule.total_kimg = kimg * (2 * stages - 1)
    config.train.tick_kimg = str(min(kimg, 1.0))
    for cadence in ("grid_ticks", "snapshot_ticks", "checkpoint_ticks"):
        config.train[cadence] = _NEVER
    config.eval.every_kimg, config.eval.stage_swd_images = 0.0, 0


def _write_noise(config: Any, folder: Path) -> None:
    config.data.name, config.data.data_dir = "noise", str(folder)
    side = config.model.resolution
    reader, settings = SyntheticReader(_NUM_IMAGES, side), Settings(side)
    path = folder / "noise"
    shards = write_pyramid(reader, path, settings, {}, 1, lambda shard: None)
    finish(path, reader, settings, {}, shards)


def _train(config: Any, workdir: Path) -> Stages:
    """Trains a complete run; returns its time by stage."""
    log, compiled = workdir / "stats.jsonl", Counter()

    def listen(event: str, seconds: float, **details: object) -> None:
        del details
        if event == _COMPILED:
            # What is compiled before the k-th row is written belongs to its tick, and
            # before there is a file of rows, to the start.
            compiled[len(read_rows(log)) if log.exists() else -1] += seconds

    jax.monitoring.register_event_duration_secs_listener(listen)
    started = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        train(config, workdir)
    wall = time.perf_counter() - started
    jax.monitoring.unregister_event_duration_listener(listen)
    return by_stage(read_rows(log), compiled, wall)


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    run(main)
