"""Snapshots of a run to one table of figures; the reals' own come first."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import ml_collections
from tqdm import tqdm

from progan_jax.data import sources
from progan_jax.data.pyramid import Pyramid
from progan_jax.errors import UserError
from progan_jax.figures import NUM_IMAGES, FigureOptions, Figures
from progan_jax.image_sources import ImageSource, Reals, open_fakes
from progan_jax.runtime.environment import environment
from progan_jax.runtime.logging import warn
from progan_jax.runtime.mesh import batched, make_mesh, select_devices
from progan_jax.runtime.snapshot import find_snapshot, list_snapshots, read_snapshot
from progan_jax.scoreboard import REALS, Scoreboard, check_best, format_table
from progan_jax.validation import validate, validate_data


def evaluate(config: ml_collections.ConfigDict, workdir: Path) -> str:
    """Measures the snapshots of a run, newest first, and returns the table.

    What was measured under the same settings before is not measured again: a command
    that was stopped goes on.

    Args:
      config: The run's; `eval` says what is measured, and how.
      workdir: The run's folder, where metrics.jsonl, metrics.csv and snapshots/best
        are written.

    Raises:
      UserError: if configuration, data, snapshots or weights are at fault.
    """
    mesh = make_mesh(select_devices(config.runtime.num_devices))
    validate(config, mesh.size)
    snapshots = _snapshots(workdir, config.eval.snapshot)
    data: Any = config.data
    pyramid = sources.load(
        data.name,
        data.data_dir,
        data.split,
        config.model.resolution,
        data.max_memory_mib,
    )
    validate_data(config, pyramid)
    evaluation = Evaluation(config, workdir, pyramid, mesh)
    evaluation.warn_of_repeats()
    rows = [evaluation.measure_reals()]
    for folder in snapshots:
        rows.append(evaluation.measure_snapshot(folder.name, *read_snapshot(folder)))
    best = evaluation.write_best()
    lines = [*evaluation.headings(), format_table(rows)]
    return "\n".join([*lines, f"best by {config.eval.best}: {best}"] if best else lines)


class Evaluation:
    """Measures snapshots of one run against its reals."""

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        workdir: Path,
        pyramid: Pyramid,
        mesh: jax.sharding.Mesh,
    ) -> None:
        """Opens the scoreboard, and the weights that the metrics need.

        Raises:
          UserError: if `config.eval` or the weights are at fault.
        """
        options: Any = config.eval
        self._metrics = parse_metrics(options.metrics)
        self._best = options.best
        check_best(self._best)
        # One process measures, while others may wait: it has its own devices alone.
        here = mesh.local_mesh
        self._sharding = batched(here) if here.size > 1 else None
        seed: Any = config.seed
        self._reals = Reals(pyramid, config.model.resolution, seed, config.data.mirror)
        self._figures = Figures(
            self._reals,
            FigureOptions(
                self._metrics,
                options.num_images,
                options.tap,
                options.resize,
                options.inception_weights,
                options.classifier,
            ),
            self._sharding,
        )
        self._scoreboard = Scoreboard(workdir)
        self._environment = environment()

    def headings(self) -> list[str]:
        """Returns a line for each metric that says how it was measured."""
        side = self._reals.resolution
        lines = [f"{self._reals.pyramid.name}, {side}x{side}, seed {self._reals.seed}"]
        for metric in self._metrics:
            settings = self._figures.settings(metric)
            shown = ("features", "weights", "resize", "subset_size", "classifier")
            rest = [f"{name} {settings[name]}" for name in shown if name in settings]
            num_images = settings["num_images"]
            lines.append(", ".join([f"{metric}: {num_images:,} images", *rest]))
        return lines

    def warn_of_repeats(self) -> None:
        """Tells if a metric takes more reals than there are."""
        there = self._reals.pyramid.num_images
        for metric in self._metrics:
            if metric != "ms_ssim" and self._figures.num_images(metric) > there:
                warn(
                    f"{metric} takes {self._figures.num_images(metric):,} reals and "
                    f"{self._reals.pyramid.name} has {there:,}: they come again; "
                    "config.eval.num_images takes fewer"
                )

    def measure_reals(self) -> tuple[str, float, dict[str, float]]:
        """Measures other reals against the reals: the floor of what can be reached."""
        most = max(map(self._figures.num_images, self._metrics))
        others = Reals(
            self._reals.pyramid,
            self._reals.resolution,
            self._reals.seed,
            self._reals.mirror,
            skip=most,
        )
        return REALS, 0.0, self._measure(REALS, 0, others)

    def measure_snapshot(
        self, name: str, params: Mapping[str, Any], info: Mapping[str, Any]
    ) -> tuple[str, float, dict[str, float]]:
        """Returns name, kimg and figures of a snapshot.

        Raises:
          UserError: if it was trained on other images, or its images are not finite.
        """
        fakes = open_fakes(name, params, info, self._reals, self._sharding)
        values = self._measure(name, info["nimg"], fakes)
        return name, info["nimg"] / 1000, values

    def measure_folder(self, folder: Path) -> dict[str, float]:
        """Measures a snapshot of a run in training, and the reals if they are not yet.

        Returns:
          The figures as scalars of the run's log, Metrics/*.
        """
        self.measure_reals()
        _, _, values = self.measure_snapshot(folder.name, *read_snapshot(folder))
        self.write_best()
        return {f"Metrics/{name}": value for name, value in values.items()}

    def write_best(self) -> str | None:
        """Names the best snapshot in snapshots/best, if a figure is to say which."""
        return self._scoreboard.write_best(self._best) if self._best else None

    def _measure(self, name: str, nimg: int, source: ImageSource) -> dict[str, float]:
        values: dict[str, float] = {}
        for metric in self._with_bar(name):
            settings = self._figures.settings(metric)
            found = self._scoreboard.find(name, metric, settings)
            if found is None:
                found = self._figures.measure(metric, source)
                self._scoreboard.add(
                    name, nimg, metric, found, settings, self._environment
                )
            values |= found
        return values

    def _with_bar(self, name: str) -> Iterator[str]:
        with tqdm(self._metrics, disable=None, leave=False) as bar:
            for metric in bar:
                bar.set_description(f"{name} {metric}")
                yield metric


def parse_metrics(text: str) -> tuple[str, ...]:
    """Reads the names of metrics, separated by commas.

    Raises:
      UserError: if there is none, or one that is not known.
    """
    metrics = tuple(dict.fromkeys(m.strip() for m in text.split(",") if m.strip()))
    for metric in metrics:
        if metric not in NUM_IMAGES:
            raise UserError(
                f"config.eval.metrics = {text!r}: {metric!r} is no metric; choose from "
                f"{', '.join(NUM_IMAGES)}"
            )
    if not metrics:
        raise UserError(
            f"config.eval.metrics = {text!r} names no metric; choose from "
            f"{', '.join(NUM_IMAGES)}"
        )
    return metrics


def _snapshots(workdir: Path, name: str) -> list[Path]:
    """Returns the folders of all snapshots, newest first, or of the named one."""
    found = find_snapshot(workdir, name or None, ("--workdir", "config.eval.snapshot"))
    return [found] if name else list_snapshots(workdir)[::-1]
