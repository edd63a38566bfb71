"""Configurations of benchmarks.short_run: new ones, and those of runs that go on."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from progan_jax.errors import UserError
from progan_jax.runtime.command_line import load_config
from progan_jax.runtime.logging import last_nimg
from progan_jax.runtime.newest import read_newest
from progan_jax.training.choice import override
from progan_jax.training.fitting import Pace, fit, lengthen, stages_ahead
from progan_jax.training.workdir import read_config

# Name of the set that the images are prepared as.
SET = "cifar10"

# The recipe of --config, and what differs from it. Lengths that StyleGAN-XL compiles in
# are fixed, so that the steps that are measured are those that are trained.
RECIPES = {
    "cifar10": ("cifar10", {"train.grid": "20x10"}),
    "stylegan_xl": (
        "stylegan_xl:cifar10,tiny",
        {
            "schedule.batch_size": 64,
            "model.stats_batch": 64,
            "model.backbone_size": 128,
            "loss.blur_kimg": 50,
            "loss.path_start_kimg": 200,
            "optim.ema_half_life_kimg": 20,
        },
    ),
}
_ALL = {
    "eval.metrics": "swd",
    "eval.best": "swd_average",
    "eval.num_images": 2048,
    "train.keep_checkpoints": 1,
}
_EVALUATIONS = 6  # In a short run.

# Seconds in which a run starts, and in which a stage of it loads its steps and compiles
# what draws and measures: 7 to 20 on a CPU.
_START, _START_OF_STAGE = 15.0, 15.0

# Share of the rest that training can have: evaluations, grids and what is saved take
# the others. If all that takes longer, the run is stopped before its end.
_TRAINING = 0.9
_LEAST_TRAINING = 60.0  # Seconds; it is planned even if there is less time.


def new_config(recipe: str, overrides: Sequence[str], data_dir: Path) -> Any:
    """Returns the configuration of a recipe, before its schedule is fitted.

    Args:
      recipe: A name in RECIPES.
      overrides: The user's --config.FIELD=VALUE.
      data_dir: Folder of the prepared set.

    Raises:
      UserError: if there is no such recipe or field, or a value does not fit.
    """
    if recipe not in RECIPES:
        raise UserError(
            f"RECIPE = {recipe!r} must be one of {', '.join(RECIPES)}; choose one"
        )
    given = _given(recipe, overrides)
    config = load_config(RECIPES[recipe][0], given)
    config.data.data_dir = str(data_dir)
    return config


def run_config(recipe: str, overrides: Sequence[str], data_dir: Path, run: Path) -> Any:
    """Returns the configuration of a run that goes on; see `new_config`.

    Args:
      recipe: A name in RECIPES.
      overrides: The user's --config.FIELD=VALUE.
      data_dir: Folder of the prepared set.
      run: The run's folder.

    Raises:
      UserError: if the folder holds no run, too.
    """
    given = new_config(recipe, overrides, data_dir)
    config = override(read_config(run, "--from", given), RECIPES[recipe][0], overrides)
    config.data.data_dir = str(data_dir)
    return config


def fit_new(
    recipe: str,
    overrides: Sequence[str],
    config: Any,
    pace: Mapping[int, Pace],
    seconds: float,
) -> None:
    """Fits a new run's schedule into the seconds from its start to its end.

    What the recipe or the user sets stays as it is.
    """
    fit(config, pace, _training_sec(len(pace), seconds))
    _spread_evaluations(config, 0)
    override(config, RECIPES[recipe][0], _given(recipe, overrides))


def fit_longer(
    config: Any, pace: Mapping[int, Pace], nimg: int, seconds: float
) -> None:
    """Lengthens a run that has shown `nimg` images by what fits into some seconds."""
    left = _training_sec(len(stages_ahead(config, nimg)), seconds)
    lengthen(config, {r: of.image_sec for r, of in pace.items()}, nimg, left)
    _spread_evaluations(config, nimg)


def reached(run: Path) -> int:
    """Returns the number of images that a run has shown."""
    return max(last_nimg(run / "stats.jsonl"), read_newest(run / "checkpoints") or 0)


def _given(recipe: str, overrides: Sequence[str]) -> list[str]:
    ours = _ALL | RECIPES[recipe][1]
    flags = [f"--config.{field}={value}" for field, value in ours.items()]
    return [*flags, *overrides]


def _training_sec(num_stages: int, seconds: float) -> float:
    """Returns the seconds of training in those from a run's start to its end."""
    rest = seconds - _START - num_stages * _START_OF_STAGE
    return max(_TRAINING * rest, _LEAST_TRAINING)


def _spread_evaluations(config: Any, nimg: int) -> None:
    """Makes the end one of about six evaluations that are still to come."""
    total = config.schedule.total_kimg
    count = math.ceil(_EVALUATIONS * total / max(total - nimg / 1000, total / 100))
    # Rounded down: the last multiple must not lie after the end.
    config.eval.every_kimg = math.floor(1000 * total / count) / 1000
