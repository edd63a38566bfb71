"""A table of the metrics of a run's snapshots, and of its real images."""

from collections.abc import Iterator, Mapping, Sequence
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
from progan_jax.inference.styles import check_psi, is_style_based, takes_transform
from progan_jax.metrics.image_sources import (
    Fakes,
    ImageSource,
    Reals,
    check_snapshot,
    open_fakes,
)
from progan_jax.metrics.measure import MeasureOptions, Measurer
from progan_jax.metrics.protocols import METRICS
from progan_jax.metrics.ranking import SHARED, frozen_networks, shares_pretraining
from progan_jax.metrics.scoreboard import (
    FLOOR_SKIP,
    REALS,
    Scoreboard,
    check_best,
    format_table,
)
from progan_jax.runtime.environment import environment
from progan_jax.runtime.mesh import batched, make_mesh, select_devices
from progan_jax.training.config import family_of, model_options
from progan_jax.training.start import open_set
from progan_jax.training.validation import validate


def evaluate(config: ml_collections.ConfigDict, workdir: Path) -> str:
    """Measures the snapshots of a run, newest first, and returns the table.

    Nothing is measured twice under the same settings, so that a command that was
    stopped continues.

    Args:
      config: The run's; `eval` says what is measured, and how.
      workdir: The run's folder, where metrics.jsonl, metrics.csv and snapshots/best
        are written, and report.html is updated if there is one.

    Raises:
      UserError: if there is a mistake in configuration, data, snapshots or weights.
    """
    mesh = make_mesh(select_devices(config.runtime.num_devices))
    snapshots = _snapshots(workdir, config.eval.snapshot)
    # Batch sizes are those of training; they are not split here.
    validate(config, num_devices=1)
    pyramid = open_set(config)
    groups = _with_large_images(config, _by_side(config, snapshots))
    given = config, workdir, pyramid, mesh
    evaluations = {side: Evaluation(*given, side) for side in groups}
    for side, folders in groups.items():
        for folder in folders:
            check_snapshot(folder.name, read_info(folder), evaluations[side].reals)
    newest = _by_side(config, list_snapshots(workdir)[-1:])
    tables = [
        evaluations[side].table(folders, names_best=side in newest)
        for side, folders in groups.items()
    ]
    if (workdir / page.NAME).exists():
        page.try_to_write_report(workdir)
    return "\n\n".join(tables)


def _by_side(
    config: ml_collections.ConfigDict, snapshots: Sequence[Path]
) -> dict[int, list[Path]]:
    """Returns snapshots by the side of the images that they are measured at.

    It is the run's, to which earlier stages are enlarged, or the stage's own for
    families whose stages restart: the program of Sauer et al. 2022.
    """
    groups: dict[int, list[Path]] = {}
    for folder in snapshots:
        side: Any = config.model.resolution
        if family_of(config).RESTARTS:
            side = read_info(folder)["stage"]["resolution"]
        groups.setdefault(side, []).append(folder)
    return groups


def _with_large_images(
    config: ml_collections.ConfigDict, groups: Mapping[int, list[Path]]
) -> dict[int, list[Path]]:
    """Leaves out stages whose images are too small for the metrics, with a warning."""
    metrics = parse_metrics(config.eval.metrics)
    least = max(METRICS[metric].smallest_side for metric in metrics)
    large = {side: folders for side, folders in groups.items() if side >= least}
    if large and (small := [f"{side}x{side}" for side in groups if side not in large]):
        warn(
            f"config.eval.metrics = {config.eval.metrics!r} needs images of "
            f"{least}x{least} or more; stages of {', '.join(small)} are left out"
        )
    return large or dict(groups)


class Evaluation:
    """Measures snapshots of one run against its real images.

    Attributes:
      reals: The real images.
      scoreboard: The records of the run.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        workdir: Path,
        pyramid: Pyramid,
        mesh: jax.sharding.Mesh,
        resolution: int | None = None,
    ) -> None:
        """Opens the scoreboard, and the weights that the metrics need.

        Args:
          config: The run's.
          workdir: The run's folder.
          pyramid: The image set.
          mesh: The devices.
          resolution: Side of the images that are compared; None for the run's.

        Raises:
          UserError: if a metric cannot be measured, for a mistake in `config.eval`, in
            the images or the weights.
        """
        options: Any = config.eval
        self._metrics = parse_metrics(options.metrics)
        self._psis = parse_truncation(options.truncation_psi)
        check_network(config, self._metrics, self._psis)
        self._best = options.best
        self._frozen = frozen_networks(config.model)
        # One process measures while others wait: it has only its own devices.
        here = mesh.local_mesh
        self._sharding = batched(here) if here.size > 1 else None
        seed: Any = config.seed
        side = resolution or config.model.resolution
        self.reals = Reals(pyramid, side, seed, config.data.mirror)
        self._measurer = Measurer(
            self.reals,
            measure_options(options, self._metrics),
            self._sharding,
        )
        self.scoreboard = Scoreboard(workdir)
        self._environment = environment()
        if self._best:
            names = [n for m, psi in self._rows() for n in self._measurer.names(m, psi)]
            check_best(self._best, names)
        self._warn_of_floors()

    def table(self, snapshots: Sequence[Path], *, names_best: bool) -> str:
        """Measures real images and snapshots, and returns the table.

        Args:
          snapshots: Their folders.
          names_best: Whether snapshots/best is to be one of this resolution.
        """
        rows = [self.measure_reals(), *self.measure_all(snapshots)]
        self.scoreboard.write_csv()  # Whatever it contains now.
        best = self.write_best() if names_best else None
        lines = [*self.headings(), format_table(rows)]
        return "\n".join([*lines, f"best by {self._best}: {best}"] if best else lines)

    def headings(self) -> list[str]:
        """Returns a line for the set, and one for the settings of each metric."""
        side, pyramid = self.reals.resolution, self.reals.pyramid
        grey = ", grey taken as RGB" if pyramid.channels == 1 else ""
        lines = [f"{pyramid.name}, {side}x{side}{grey}, seed {self.reals.seed}"]
        for metric in self._metrics:
            settings = self._measurer.settings(metric)
            counts = self._measurer.counts(metric)
            shown = ("features", "weights", "resize", "subset_size")
            shown += ("classifier", "attributes")
            values = {name: settings[name] for name in shown if name in settings}
            if "weights" in values:
                values["weights"] = values["weights"][:8]  # As Git shows commits.
            rest = [f"{name} {value}" for name, value in values.items()]
            if counts.reals not in (0, counts.fakes):
                rest.insert(0, f"{counts.reals:,} reals")
            if shares_pretraining(metric, self._frozen):
                rest.append(f"{SHARED} with the discriminator")
            counted = f"{counts.fakes:,} {METRICS[metric].unit}"
            lines.append(", ".join([f"{metric}: {counted}", *rest]))
        if self._psis != (1.0,):
            shown = ", ".join(f"{psi:g}" for psi in self._psis)
            lines.append(f"truncation psi {shown}; 1 is none")
        return lines

    def measure_reals(self) -> tuple[str, float, dict[str, float]]:
        """Returns name, kimg and values of other real images, the floor of all."""
        values: dict[str, float] = {}
        sources = {0: self.reals}
        for metric, _ in self._with_bar(REALS, [(m, 1.0) for m in self._metrics]):
            counts = self._measurer.counts(metric)
            if counts.floor:
                skip = counts.floor_skip
                # One source for all metrics: features are kept by source.
                source = sources.setdefault(skip, replace(self.reals, skip=skip))
                extra = {FLOOR_SKIP: skip}
                values |= self._measure(metric, REALS, source, counts.floor, extra)
        return REALS, 0.0, values

    def measure_all(
        self, snapshots: Sequence[Path]
    ) -> Iterator[tuple[str, float, dict[str, float]]]:
        """Yields name, kimg and values of snapshots; diverged ones have none."""
        for folder in snapshots:
            try:
                yield self.measure_snapshot(folder)
            except NotFiniteError as error:
                if len(snapshots) == 1:
                    raise
                warn(str(error))
                yield folder.name, read_info(folder)["stage"]["nimg"] / 1000, {}

    def measure_snapshot(self, folder: Path) -> tuple[str, float, dict[str, float]]:
        """Returns name, kimg and values of a snapshot.

        Raises:
          UserError: if it was trained on other images, or its images are not finite.
        """
        weights, info = read_snapshot(folder)
        values: dict[str, float] = {}
        of_weights = {"digest": digest(folder), "nimg": info["stage"]["nimg"]}
        fakes: dict[tuple[float, int], Fakes] = {}
        for metric, psi in self._with_bar(folder.name, self._rows()):
            kind = psi, METRICS[metric].latents
            if kind not in fakes:
                snapshot = folder.name, weights, info
                # One source at a time: features are kept of the latest alone.
                fakes = {kind: open_fakes(*snapshot, self.reals, self._sharding, *kind)}
            count = self._measurer.counts(metric).fakes
            values |= self._measure(
                metric, folder.name, fakes[kind], count, psi=psi, **of_weights
            )
        return folder.name, info["stage"]["nimg"] / 1000, values

    def measure_folder(self, folder: Path) -> dict[str, float]:
        """Measures a snapshot during training, and the real images if that is due.

        Returns:
          The values as scalars of the run's log, Metrics/*.
        """
        self.measure_reals()
        _, _, values = self.measure_snapshot(folder)
        self.write_best()
        return {f"Metrics/{name}": value for name, value in values.items()}

    def write_best(self) -> str | None:
        """Names the best snapshot in snapshots/best, if `config.eval.best` is set."""
        chosen = self._of_best()
        return self.scoreboard.write_best(*chosen) if chosen else None

    def rank(self, start: int, end: int) -> list[tuple[float, int, str]]:
        """Returns the values of `config.eval.best` of the snapshots of a stage.

        Args:
          start: Number of images shown before the stage.
          end: Number of images shown now; later snapshots are left out.

        Returns:
          See `Scoreboard.rank`; empty without measurements.
        """
        chosen = self._of_best()
        ranked = self.scoreboard.rank(*chosen) if chosen else []
        return [row for row in ranked if start < row[1] <= end]

    def _of_best(self) -> tuple[str, str, dict[str, Any]] | None:
        """Returns the value that says which snapshot is best, its metric, settings."""
        for metric, psi in self._rows():
            if self._best in self._measurer.names(metric, psi):
                return self._best, metric, self._measurer.settings(metric, psi)
        return None

    def _measure(
        self,
        metric: str,
        name: str,
        source: ImageSource,
        num_images: int,
        extra: Mapping[str, Any] | None = None,
        *,
        digest: str = "",
        nimg: int = 0,
        psi: float = 1.0,
    ) -> dict[str, float]:
        settings = self._measurer.settings(metric, psi) | dict(extra or {})
        found = self.scoreboard.find(name, digest, metric, settings)
        if found is None:
            found = self._measurer.measure(metric, source, num_images, psi)
            self.scoreboard.add(
                name, digest, nimg, metric, found, settings, self._environment
            )
        return found

    def _warn_of_floors(self) -> None:
        pyramid = self.reals.pyramid
        of_images = [m for m in self._metrics if not METRICS[m].space]
        if without := [m for m in of_images if not self._measurer.counts(m).floor]:
            warn(
                f"{pyramid.name} has {pyramid.num_images:,} images, too few for the "
                f"row of real images in {', '.join(without)}; for that row lower "
                f"config.eval.num_images to {pyramid.num_images // 2} or less"
            )

    def _rows(self) -> list[tuple[str, float]]:
        """Returns metrics and truncations; what is of latents is never truncated."""
        images = [m for m in self._metrics if not METRICS[m].space]
        latents = [m for m in self._metrics if METRICS[m].space]
        truncated = [(m, psi) for psi in self._psis for m in images]
        return truncated + [(metric, 1.0) for metric in latents]

    def _with_bar(
        self, name: str, rows: Sequence[tuple[str, float]]
    ) -> Iterator[tuple[str, float]]:
        with tqdm(rows, disable=None, leave=False) as bar:
            for metric, psi in bar:
                truncation = "" if psi == 1 else f" psi {psi:g}"
                bar.set_description(f"{name} {metric}{truncation}")
                yield metric, psi


def parse_metrics(text: str) -> tuple[str, ...]:
    """Returns the names of metrics in a text, separated by commas.

    Raises:
      UserError: if there is none, or an unknown one.
    """
    metrics = tuple(dict.fromkeys(m.strip() for m in text.split(",") if m.strip()))
    if not metrics or not set(metrics) <= METRICS.keys():
        unknown = [repr(m) for m in metrics if m not in METRICS]
        raise UserError(
            f"config.eval.metrics = {text!r}: there is no metric "
            f"{', '.join(unknown) or 'in it'}; choose from {', '.join(METRICS)}"
        )
    return metrics


def measure_options(options: Any, metrics: tuple[str, ...]) -> MeasureOptions:
    """Returns what `config.eval` says of some metrics."""
    return MeasureOptions(
        metrics,
        options.num_images,
        options.tap,
        options.resize,
        options.inception_weights,
        options.classifier,
        options.lpips_weights,
        options.attributes,
        options.vgg16_weights,
        options.dinov2_weights,
    )


def parse_truncation(text: str) -> tuple[float, ...]:
    """Returns the truncations in a text, separated by commas.

    Raises:
      UserError: if there is none, or one is no number in [-2, 2].
    """
    psis: list[Any] = []
    for part in text.split(","):
        try:
            psis.append(float(part))
        except ValueError:
            psis.append(repr(part.strip()))
    field = f"config.eval.truncation_psi = {text!r}: psi"
    return tuple(dict.fromkeys(check_psi(field, psi) for psi in psis))


def check_network(
    config: ml_collections.ConfigDict, metrics: Sequence[str], psis: Sequence[float]
) -> None:
    """Raises UserError if a run's generator lacks what is asked for."""
    family = family_of(config)
    generator = family.make_networks(model_options(config), config.model.resolution)[0]
    which = f"the run is of the family {config.family} ({family.PAPER.model})"
    for metric in metrics:
        row = METRICS[metric]
        if row.moves and not takes_transform(generator):
            raise UserError(
                f"config.eval.metrics: {metric} moves the input of the synthesis, and "
                f"{which}, whose input cannot be moved; leave {metric} out"
            )
        if (row.space == "w" or row.latents > 1) and not is_style_based(generator):
            plain = metric.replace("_w", "_z").partition("_mixed")[0]
            raise UserError(
                f"config.eval.metrics: {metric} needs a mapping network, and {which}, "
                f"which has none; choose {plain}"
            )
    if psis != (1.0,) and not is_style_based(generator):
        raise UserError(
            f"config.eval.truncation_psi = {', '.join(f'{psi:g}' for psi in psis)}: "
            f"{which}, which has no truncation; set it to 1"
        )


def _snapshots(workdir: Path, name: str) -> list[Path]:
    """Returns the folders of all snapshots, newest first, or of the named one."""
    if not (workdir / "snapshots").is_dir() and (workdir / "snapshot.json").exists():
        raise UserError(
            f"--workdir={workdir}: this is a snapshot; name its run, and the snapshot "
            "in config.eval.snapshot"
        )
    found = find_snapshot(workdir, name or None, ("--workdir", "config.eval.snapshot"))
    return [found] if name else list_snapshots(workdir)[::-1]
