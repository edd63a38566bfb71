"""Snapshots of a run to one table of figures; the reals' own come first."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import ml_collections
from tqdm import tqdm

from progan_jax.data.pyramid import Pyramid
from progan_jax.display import page
from progan_jax.errors import NotFiniteError, UserError, warn
from progan_jax.inference.snapshot import (
    digest,
    find_snapshot,
    list_snapshots,
    read_info,
    read_snapshot,
)
from progan_jax.metrics.image_sources import (
    ImageSource,
    Reals,
    check_snapshot,
    open_fakes,
)
from progan_jax.metrics.measure import MeasureOptions, Measurer
from progan_jax.metrics.protocols import METRICS, Counts
from progan_jax.metrics.scoreboard import (
    FLOOR_SKIP,
    REALS,
    Scoreboard,
    check_best,
    format_table,
)
from progan_jax.runtime.environment import environment
from progan_jax.runtime.mesh import batched, make_mesh, select_devices
from progan_jax.training.start import open_set
from progan_jax.training.validation import validate


def evaluate(config: ml_collections.ConfigDict, workdir: Path) -> str:
    """Measures the snapshots of a run, newest first, and returns the table.

    What was measured under the same settings before is not measured again: a command
    that was stopped goes on.

    Args:
      config: The run's; `eval` says what is measured, and how.
      workdir: The run's folder, where metrics.jsonl, metrics.csv and snapshots/best
        are written, and report.html anew if there is one.

    Raises:
      UserError: if configuration, data, snapshots or weights are at fault.
    """
    mesh = make_mesh(select_devices(config.runtime.num_devices))
    snapshots = _snapshots(workdir, config.eval.snapshot)
    validate(config, num_devices=1)  # Batches are those of training, not split here.
    pyramid = open_set(config)
    evaluation = Evaluation(config, workdir, pyramid, mesh)
    evaluation.check(snapshots)
    rows = [evaluation.measure_reals()]
    rows += evaluation.measure_all(snapshots)
    evaluation.write_csv()
    best = evaluation.write_best()
    if (workdir / page.NAME).exists():
        page.try_to_write_report(workdir)
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
          UserError: if `config.eval`, the images or the weights are at fault: what a
            metric cannot measure is known here, before any work.
        """
        options: Any = config.eval
        self._metrics = parse_metrics(options.metrics)
        self._best = options.best
        # One process measures, while others may wait: it has its own devices alone.
        here = mesh.local_mesh
        self._sharding = batched(here) if here.size > 1 else None
        seed: Any = config.seed
        self._reals = Reals(pyramid, config.model.resolution, seed, config.data.mirror)
        self._measurer = Measurer(
            self._reals,
            MeasureOptions(
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
        if self._best:
            names = [n for m in self._metrics for n in self._measurer.names(m)]
            check_best(self._best, names)
        self._warn_of_floors()

    def headings(self) -> list[str]:
        """Returns a line for each metric that says how it was measured."""
        side, pyramid = self._reals.resolution, self._reals.pyramid
        grey = ", grey taken as RGB" if pyramid.channels == 1 else ""
        lines = [f"{pyramid.name}, {side}x{side}{grey}, seed {self._reals.seed}"]
        for metric in self._metrics:
            settings, counts = self._measurer.settings(metric), self._counts(metric)
            shown = ("features", "weights", "resize", "subset_size", "classifier")
            values = {name: settings[name] for name in shown if name in settings}
            if "weights" in values:
                values["weights"] = values["weights"][:8]  # As Git shows commits.
            rest = [f"{name} {value}" for name, value in values.items()]
            if counts.reals not in (0, counts.fakes):
                rest.insert(0, f"{counts.reals:,} reals")
            lines.append(", ".join([f"{metric}: {counts.fakes:,} images", *rest]))
        return lines

    def check(self, snapshots: Iterable[Path]) -> None:
        """Raises UserError if a snapshot was trained on other images."""
        for folder in snapshots:
            check_snapshot(folder.name, read_info(folder), self._reals)

    def measure_reals(self) -> tuple[str, float, dict[str, float]]:
        """Measures other reals against the reals: the floor of what can be reached."""
        values: dict[str, float] = {}
        for metric in self._with_bar(REALS):
            counts = self._counts(metric)
            if counts.floor:
                skipped = {FLOOR_SKIP: counts.floor_skip}
                source = replace(self._reals, skip=counts.floor_skip)
                values |= self._measure(metric, REALS, source, counts.floor, skipped)
        return REALS, 0.0, values

    def measure_all(
        self, snapshots: Sequence[Path]
    ) -> Iterator[tuple[str, float, dict[str, float]]]:
        """Yields name, kimg and figures of snapshots; diverged ones have none."""
        for folder in snapshots:
            try:
                yield self.measure_snapshot(folder)
            except NotFiniteError as error:
                if len(snapshots) == 1:
                    raise
                warn(str(error))
                yield folder.name, read_info(folder)["stage"]["nimg"] / 1000, {}

    def measure_snapshot(self, folder: Path) -> tuple[str, float, dict[str, float]]:
        """Returns name, kimg and figures of a snapshot.

        Raises:
          UserError: if it was trained on other images, or its images are not finite.
        """
        params, info = read_snapshot(folder)
        fakes = open_fakes(folder.name, params, info, self._reals, self._sharding)
        values: dict[str, float] = {}
        of_weights = {"digest": digest(folder), "nimg": info["stage"]["nimg"]}
        for metric in self._with_bar(folder.name):
            count = self._counts(metric).fakes
            values |= self._measure(metric, folder.name, fakes, count, **of_weights)
        return folder.name, info["stage"]["nimg"] / 1000, values

    def measure_folder(self, folder: Path) -> dict[str, float]:
        """Measures a snapshot of a run in training, and the reals if they are not yet.

        Returns:
          The figures as scalars of the run's log, Metrics/*.
        """
        self.measure_reals()
        _, _, values = self.measure_snapshot(folder)
        self.write_best()
        return {f"Metrics/{name}": value for name, value in values.items()}

    def write_csv(self) -> None:
        """Writes metrics.csv anew, as nobody checks what it holds."""
        self._scoreboard.write_csv()

    def write_best(self) -> str | None:
        """Names the best snapshot in snapshots/best, if a figure is to say which."""
        for metric in self._metrics:
            if self._best in self._measurer.names(metric):
                settings = self._measurer.settings(metric)
                return self._scoreboard.write_best(self._best, metric, settings)
        return None

    def _measure(
        self,
        metric: str,
        name: str,
        source: ImageSource,
        num_images: int,
        more_settings: Mapping[str, Any] | None = None,
        *,
        digest: str = "",
        nimg: int = 0,
    ) -> dict[str, float]:
        settings = self._measurer.settings(metric) | dict(more_settings or {})
        found = self._scoreboard.find(name, digest, metric, settings)
        if found is None:
            found = self._measurer.measure(metric, source, num_images)
            self._scoreboard.add(
                name, digest, nimg, metric, found, settings, self._environment
            )
        return found

    def _counts(self, metric: str) -> Counts:
        return self._measurer.counts(metric)

    def _warn_of_floors(self) -> None:
        """Tells which metrics have too few reals for a floor."""
        pyramid = self._reals.pyramid
        if without := [m for m in self._metrics if not self._counts(m).floor]:
            warn(
                f"{pyramid.name} has {pyramid.num_images:,} images, too few for the "
                f"row of the reals in {', '.join(without)}; for that row lower "
                f"config.eval.num_images to {pyramid.num_images // 2} or less"
            )

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
        if metric not in METRICS:
            raise UserError(
                f"config.eval.metrics = {text!r}: {metric!r} is no metric; choose from "
                f"{', '.join(METRICS)}"
            )
    if not metrics:
        raise UserError(
            f"config.eval.metrics = {text!r} names no metric; choose from "
            f"{', '.join(METRICS)}"
        )
    return metrics


def _snapshots(workdir: Path, name: str) -> list[Path]:
    """Returns the folders of all snapshots, newest first, or of the named one."""
    if not (workdir / "snapshots").is_dir() and (workdir / "snapshot.json").exists():
        raise UserError(
            f"--workdir={workdir}: this is a snapshot; name its run, and the snapshot "
            "in config.eval.snapshot"
        )
    found = find_snapshot(workdir, name or None, ("--workdir", "config.eval.snapshot"))
    return [found] if name else list_snapshots(workdir)[::-1]
