"""The runs of a table: their scale, cost and state, training and measuring.

Changes that make a recipe fit a small machine are named in the table's heading.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import ml_collections

from progan_jax.errors import DivergedError, MissingWeightsError, UserError, warn
from progan_jax.evaluate import check_network, evaluate, measure_options
from progan_jax.experiments.table import Row, Table
from progan_jax.files import write_whole
from progan_jax.inference.snapshot import list_snapshots, read_info
from progan_jax.metrics.image_sources import Reals
from progan_jax.metrics.measure import Measurer
from progan_jax.metrics.protocols import METRICS, check_images
from progan_jax.runtime.command_line import list_fields, load_config
from progan_jax.train import train
from progan_jax.training.config import (
    family_of,
    make_networks,
    make_schedule,
    parse_table,
)
from progan_jax.training.costs import PASSES, multiply_adds
from progan_jax.training.start import open_set
from progan_jax.training.workdir import check_same_config, read_config

# The fewest images that measure a shortened run.
_LEAST_IMAGES = 512

# Ticks of a shortened run. Every tenth has a grid, snapshot and checkpoint; grids and
# snapshots are at least one kimg apart.
_TICKS, _TICKS_OF_SNAPSHOTS = 100, 10


@dataclass(frozen=True)
class Reduction:
    """How a recipe is scaled down.

    Attributes:
      scale: Factor of the run's length, of both phases, of the rampup, and of the
        numbers of images that measure it; 1 is the recipe.
      max_resolution: Largest resolution; None leaves the recipe's.
      fmap_max: Most feature maps of a layer; None leaves the recipe's.
    """

    scale: float = 1.0
    max_resolution: int | None = None
    fmap_max: int | None = None

    def apply(self, config: ml_collections.ConfigDict) -> None:
        """Changes a recipe.

        Raises:
          UserError: if its last resolution would never be held at this scale.
        """
        model: Any = config.model
        schedule: Any = config.schedule
        if self.max_resolution and self.max_resolution < model.resolution:
            model.resolution = self.max_resolution
            if family_of(config).RESTARTS:
                model.stages = _stages_below(model.stages, self.max_resolution)
            start = min(schedule.start_resolution, self.max_resolution)
            schedule.start_resolution = start
        if self.fmap_max:
            model.fmap_max = min(model.fmap_max, self.fmap_max)
        if self.scale != 1:
            self._shorten(config)
        self._check_held(config)

    def num_images(self, metric: str) -> int:
        """Returns `eval.num_images` for a metric; 0 is the published number."""
        if self.scale >= 1:
            return 0
        protocol = METRICS[metric]
        wanted = max(_LEAST_IMAGES, protocol.least, protocol.num_images * self.scale)
        return -(-int(wanted) // protocol.multiple) * protocol.multiple

    def changes(self) -> Iterator[str]:
        """Yields what differs from the recipe, in words."""
        if self.scale != 1:
            yield f"{self.scale:g} times the images of the recipe, in training"
        if 0 < self.scale < 1:
            yield f"and in metrics, {_LEAST_IMAGES} at least"
        if self.max_resolution:
            yield f"{self.max_resolution}x{self.max_resolution} at most"
        if self.fmap_max:
            yield f"{self.fmap_max} feature maps at most"

    def _shorten(self, config: ml_collections.ConfigDict) -> None:
        schedule: Any = config.schedule
        train: Any = config.train
        schedule.total_kimg *= self.scale
        schedule.rampup_kimg *= self.scale
        for name in ("stabilise_kimg", "fade_kimg"):
            table = parse_table(schedule[name], f"schedule.{name}")
            schedule[name] = _format_table(
                {r: k * self.scale for r, k in table.items()}
            )
        if family_of(config).RESTARTS:
            self._shorten_stages(config)
        tick_kimg = schedule.total_kimg / _TICKS
        train.tick_kimg = f"{tick_kimg:g}"
        # A grid and a snapshot for each kimg at most.
        apart = max(_TICKS_OF_SNAPSHOTS, math.ceil(1 / tick_kimg))
        train.grid_ticks = train.snapshot_ticks = apart
        train.checkpoint_ticks = _TICKS_OF_SNAPSHOTS

    def _shorten_stages(self, config: ml_collections.ConfigDict) -> None:
        """Shortens what lasts for a time after the beginning of a stage."""
        config.loss.blur_kimg *= self.scale
        config.loss.path_start_kimg *= self.scale
        config.optim.ema_half_life_kimg *= self.scale

    def _check_held(self, config: ml_collections.ConfigDict) -> None:
        schedule = make_schedule(config)
        full = schedule.kimg_to_full_resolution()
        batch = schedule.pair_nimg(config.model.resolution) / 1000
        if full is None or full + batch > config.schedule.total_kimg:
            side = config.model.resolution
            raise UserError(
                f"--scale={self.scale:g}: {side}x{side} would never be held: it "
                f"has faded in after {full or 0:g} of "
                f"{config.schedule.total_kimg:g} kimg; raise --scale, or lower "
                "--max_resolution"
            )


def _stages_below(stages: str, side: int) -> str:
    """Returns the stages of `config.model.stages` that are below a side."""
    texts = stages.split()
    return " ".join(t for t in texts if int(t.partition(":")[0]) < side)


def _format_table(table: dict[int, float]) -> str:
    """Returns a table by resolution as configs/base.py writes it."""
    (_, first), *others = table.items()
    return ", ".join([f"{first:g}", *(f"{r}:{k:g}" for r, k in others if k != first)])


# File of a run that diverged; deleting it lets the run be tried again.
DIVERGED = "diverged.txt"


@dataclass(frozen=True)
class Run:
    """One seed of one row.

    Attributes:
      row: The recipe.
      seed: config.seed.
      workdir: Folder of the run.
      config: The recipe's, reduced and with the seed.
    """

    row: Row
    seed: int
    workdir: Path
    config: ml_collections.ConfigDict

    @property
    def total_nimg(self) -> int:
        """Number of images that the run shows."""
        return make_schedule(self.config).end_nimg()

    def is_finished(self) -> bool:
        """Returns whether the last snapshot was written."""
        return self.nimg_so_far() == self.total_nimg

    def has_begun(self) -> bool:
        """Returns whether the folder holds a run."""
        return (self.workdir / "config.json").exists()

    def has_diverged(self) -> bool:
        """Returns whether training ended because updates were not finite."""
        return (self.workdir / DIVERGED).exists()

    def flops(self, nimg: float) -> float:
        """Returns the approximate number of operations for the first `nimg` images."""
        schedule, total = make_schedule(self.config), 0.0
        for stage in schedule.stages():
            generator, _ = make_networks(self.config, stage.resolution, 1)
            shown = max(min(nimg, schedule.stage_end(stage)) - stage.start_nimg, 0)
            total += 2 * PASSES * shown * multiply_adds(generator)
        return total

    def nimg_so_far(self) -> int:
        """Returns the number of images shown, by its newest snapshot."""
        if not self.has_begun():
            return 0
        snapshots = list_snapshots(self.workdir)
        return read_info(snapshots[-1])["stage"].get("nimg", 0) if snapshots else 0


def plan(
    rows: Sequence[Row],
    num_runs: int,
    workdir: Path,
    reduction: Reduction,
    overrides: Sequence[str],
) -> list[Run]:
    """Returns the runs of some rows, seed by seed.

    Args:
      rows: The rows.
      num_runs: Number of seeds of each row.
      workdir: Folder of the table.
      reduction: How the recipes are scaled down.
      overrides: Arguments --config.FIELD=VALUE for all runs.

    Raises:
      UserError: if a recipe cannot be reduced so, or an override is faulty.
    """
    configs = [load_config(row.config, overrides) for row in rows]
    for config in configs:
        reduction.apply(config)
    return [
        _make_run(row, config, workdir, number)
        for number in range(num_runs)
        for row, config in zip(rows, configs, strict=True)
    ]


def _make_run(
    row: Row, config: ml_collections.ConfigDict, workdir: Path, number: int
) -> Run:
    config = copy.deepcopy(config)
    seed: Any = config.seed
    config.seed = seed + number
    # "*" is a shell's wild card.
    folder = workdir / row.name.replace("*", "-star") / f"seed-{config.seed}"
    return Run(row, seed + number, folder, config)


def check(runs: Sequence[Run], table: Table, reduction: Reduction) -> None:
    """Opens what runs need, so that what is missing is reported before training.

    Weights that are not named, and scikit-learn, may be missing: other metrics need
    none. Only the classifier that counts modes may not.

    Raises:
      UserError: if an image set is at fault or does not suffice for a metric, or
        weights that are named are.
    """
    # Rows of the same images open the same weights.
    opened: dict[tuple[int, int, str], tuple[Run, Reals]] = {}
    for run in runs:
        config: Any = run.config
        pyramid, side = open_set(config), config.model.resolution
        check_network(config, table.all_metrics, (1.0,))
        for metric in table.all_metrics:
            count, there = reduction.num_images(metric), pyramid.num_images
            check_images(metric, count, there, side, pyramid.name, _FIX)
        reals = Reals(pyramid, side, run.seed, config.data.mirror)
        opened[side, pyramid.channels, str(config.eval)] = run, reals
    for run, reals in opened.values():
        _check_weights(run, reals, table, reduction)


_FIX = "the table decides it: change --scale, the resolution or the set"


def _check_weights(run: Run, reals: Reals, table: Table, reduction: Reduction) -> None:
    """Opens the weights of a run, once of each kind."""
    kinds = {METRICS[metric].extractor: metric for metric in table.all_metrics}
    for kind, metric in kinds.items():
        config = _evaluation(run, metric, reduction)
        if kind == "inception" and not config.eval.inception_weights:
            continue  # They would be downloaded.
        try:
            Measurer(reals, measure_options(config.eval, (metric,)))
        except MissingWeightsError as error:
            if kind == "classifier":
                raise
            warn(f"columns will be empty: {error}")


def check_begun(run: Run) -> None:
    """Checks that a run's folder, if it exists, was begun with this configuration.

    Raises:
      UserError: if it was begun with another configuration.
    """
    if run.has_begun():
        begun = read_config(run.workdir, "--workdir")
        check_same_config(run.config, run.workdir, begun)


def carry_out(run: Run) -> bool:
    """Trains a run to its end, unless it has diverged.

    Returns:
      Whether it has ended; False if a signal stopped it, with its state saved.
    """
    if run.has_diverged() or run.is_finished():
        return True
    try:
        train(run.config, run.workdir)
    except DivergedError as error:
        write_whole(run.workdir / DIVERGED, f"{error}\n")
        return True
    finally:
        jax.clear_caches()  # The next run's programs are others.
    return run.is_finished()


def measure(
    run: Run, metrics: Sequence[str], reduction: Reduction, snapshot: str = ""
) -> Iterator[str]:
    """Measures snapshots of a run: all, or the one that is named.

    Yields:
      The metrics whose weights are missing.
    """
    for metric in metrics:
        try:
            evaluate(_evaluation(run, metric, reduction, snapshot), run.workdir)
        except MissingWeightsError:
            yield metric


def _evaluation(
    run: Run, metric: str, reduction: Reduction, snapshot: str = ""
) -> ml_collections.ConfigDict:
    """Returns the configuration by which one metric of a run is measured."""
    config = copy.deepcopy(run.config)
    config.eval.metrics, config.eval.best = metric, ""
    config.eval.snapshot = snapshot
    config.eval.num_images = reduction.num_images(metric)
    return config


def command(run: Run, overrides: Sequence[str]) -> list[str]:
    """Returns the command line that trains a run by itself."""
    recipe = list_fields(load_config(run.row.config, overrides))
    changed = {k: v for k, v in list_fields(run.config).items() if v != recipe[k]}
    return [
        *("python", "-m", "progan_jax.main", f"--config={run.row.config}"),
        f"--workdir={run.workdir}",
        *overrides,
        *(f"--config.{field}={value}" for field, value in changed.items()),
    ]
