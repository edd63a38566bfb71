"""Reproduces a table of the paper: trains, measures and tabulates its runs.

    python -m progan_jax.tools.reproduce TABLE --workdir=DIR [--runs=10] [--scale=0.01]
        [--budget=HOURS] [--rows=a,d,g] [--max_resolution=64] [--fmap_max=32]
        [--dry_run] -- --config.data.data_dir=DATA [--config.FIELD=VALUE ...]

TABLE is cifar10_is, table1_celeba, table1_lsun, lsun_categories or mnist_modes of
Progressive GAN; stylegan_table1, stylegan_table2 or stylegan_table3; stylegan_xl_table
or stylegan_xl_results. All runs are listed with their cost first. The same command
continues after a stop: nothing is trained or measured twice. Writes TABLE.md, TABLE.csv
and, with Matplotlib, TABLE.png, TABLE-levels.png and TABLE-throughput.png to DIR.

--budget  instead of --scale: the scale at which training takes so many hours
--dry_run only lists the runs and their cost
--jobs    only prints the command that trains each run, for a scheduler
"""

import itertools
import json
import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
from absl import flags

from progan_jax.errors import UserError
from progan_jax.experiments import curves
from progan_jax.experiments.hours import sustained_rate
from progan_jax.experiments.results import (
    best_snapshot,
    mean_floor,
    read_outcome,
    summarise,
    to_csv,
    to_markdown,
)
from progan_jax.experiments.runs import (
    Reduction,
    Run,
    carry_out,
    check,
    check_begun,
    command,
    measure,
    plan,
)
from progan_jax.experiments.table import Row, Table
from progan_jax.experiments.tables import TABLES
from progan_jax.files import local_folder, write_json, write_whole
from progan_jax.images import SMALLEST_LEVEL
from progan_jax.inference.publish import PATHS
from progan_jax.metrics.protocols import METRICS, metric_of
from progan_jax.metrics.ranking import frozen_networks
from progan_jax.runtime.command_line import run_with_overrides
from progan_jax.runtime.compiler import keep_compiled, set_precision

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the table; runs/TABLE.")

RUNS = flags.DEFINE_integer(
    "runs", None, "Seeds of each row; the paper's if unset.", lower_bound=1
)

ROWS = flags.DEFINE_list("rows", None, "Rows; all if unset.")

SCALE = flags.DEFINE_float("scale", 1.0, "Factor of the length of everything.")

BUDGET = flags.DEFINE_float("budget", None, "Hours of training, in place of --scale.")

MAX_RESOLUTION = flags.DEFINE_integer("max_resolution", None, "Largest resolution.")

FMAP_MAX = flags.DEFINE_integer(
    "fmap_max", None, "Most feature maps of a layer.", lower_bound=1
)

DRY_RUN = flags.DEFINE_bool("dry_run", False, "Only list the runs and their cost.")

JOBS = flags.DEFINE_bool("jobs", False, "Only print the command of each run.")

_BUDGET = "budget.json"  # Scales by hours.

# Fields that the table sets, and what they follow from.
_DECIDED = {
    "eval.metrics": "TABLE",
    "eval.num_images": "--scale",
    "eval.best": "TABLE",
    "eval.snapshot": "TABLE",
    "eval.resize": "its columns",
}

# Paths of this machine, which the table leaves out.
_PLACES = tuple(f"--config.{field}=" for field in PATHS)


def main(name: str, overrides: list[str]) -> None:
    """Reproduces one table."""
    if name not in TABLES:
        raise UserError(f"{name!r} is not a table; choose from {', '.join(TABLES)}")
    table = TABLES[name]
    rows, reduction = _rows(table), _reduction(table)
    workdir = local_folder("--workdir", WORKDIR.value or f"runs/{name}")
    num_runs = table.num_runs if RUNS.value is None else RUNS.value
    _check_overrides(overrides)
    if BUDGET.value is not None:
        planned = partial(plan, rows, num_runs, workdir, overrides=overrides)
        reduction = fit_to_budget(name, planned, reduction, workdir)
    runs = plan(rows, num_runs, workdir, reduction, overrides)
    table = table.at_tap(runs[0].config.eval.tap)
    for run in runs:
        check_begun(run)
    if JOBS.value:
        print("\n".join(shlex.join(command(run, overrides)) for run in runs))
        return
    _print_cost(runs)
    if DRY_RUN.value:
        return
    check(runs[: len(rows)], table, reduction)
    keep_compiled()
    missing = _carry_out(runs, table, reduction)
    if missing is not None:
        _write(workdir, name, table, runs, rows, reduction, overrides, missing)


def _check_overrides(overrides: Sequence[str]) -> None:
    for override in overrides:
        for field, flag in _DECIDED.items():
            if override.startswith(f"--config.{field}="):
                raise UserError(
                    f"{override}: the table sets it, by {flag}; leave it out"
                )


def _rows(table: Table) -> list[Row]:
    there = {row.name: row for row in table.rows}
    names = list(there) if ROWS.value is None else list(dict.fromkeys(ROWS.value))
    for row in names or [""]:
        if row not in there:
            raise UserError(
                f"--rows={','.join(names)}: {row!r} is not a row of the table; choose "
                f"from {', '.join(there)}"
            )
    return [there[row] for row in names]


def _reduction(table: Table) -> Reduction:
    if not 0 < SCALE.value < float("inf"):
        raise UserError(f"--scale={SCALE.value} must be above 0; write 0.01 or such")
    side = MAX_RESOLUTION.value
    least = max(METRICS[metric].smallest_side for metric in table.all_metrics)
    least = max(least, SMALLEST_LEVEL)
    if side is not None and (side < least or side & (side - 1)):
        raise UserError(
            f"--max_resolution={side} must be a power of two, and {least} at least, "
            "the smallest images that the table's metrics take; change it"
        )
    return Reduction(SCALE.value, side, FMAP_MAX.value)


def fit_to_budget(
    name: str,
    planned: Callable[[Reduction], list[Run]],
    reduction: Reduction,
    workdir: Path,
) -> Reduction:
    """Returns the reduction at which all runs together take --budget, or the recipe.

    It is kept beside the runs, so that the same command continues them.

    Args:
      name: The table's.
      planned: Returns the runs of a reduction.
      reduction: Without a scale.
      workdir: Folder of the table.

    Raises:
      UserError: if it is no number of hours, or too short for the runs.
    """
    hours = float(BUDGET.value or 0)
    _check_budget(hours)
    whole = planned(reduction)
    key = _budget_key(name, hours, whole, reduction)
    kept = workdir / _BUDGET
    known = json.loads(kept.read_text()) if kept.exists() else {}
    if (scale := known.get(key)) is None:
        affordable = 3600 * hours * sustained_rate(whole).flops
        total = sum(run.flops(run.total_nimg) for run in whole)
        scale = min(1.0, float(f"{affordable / total:.2g}"))
    fitted = replace(reduction, scale=scale)
    try:
        planned(fitted)
    except UserError as error:
        raise UserError(
            f"--budget={hours:g} is too short for these runs, which would be {scale:g} "
            "times as long as in the recipe; raise it, or choose fewer --rows, --runs, "
            "a smaller --max_resolution or --fmap_max"
        ) from error
    if not DRY_RUN.value:
        workdir.mkdir(parents=True, exist_ok=True)
        write_json(kept, known | {key: scale})
    print(f"--budget={hours:g}: a scale of {scale:g}")
    return fitted


def _check_budget(hours: float) -> None:
    if not 0 < hours < float("inf"):
        raise UserError(f"--budget={hours:g} must be above 0; write hours, such as 2.5")
    if SCALE.value != 1:
        raise UserError(
            f"--budget={hours:g} decides the scale, and --scale={SCALE.value:g} too; "
            "leave one out"
        )


def _budget_key(
    name: str, hours: float, runs: Sequence[Run], reduction: Reduction
) -> str:
    """Returns what a budget's scale depends on, besides the speed of the machine."""
    rows = ",".join(dict.fromkeys(run.row.name for run in runs))
    changes = ", ".join(reduction.changes())
    return f"{name}: {hours:g} h, rows {rows}, {len(runs)} runs, {changes or 'whole'}"


def _print_cost(runs: Sequence[Run]) -> None:
    """Prints the runs, how far they are, and how long the rest takes."""
    total, rate = 0.0, sustained_rate(runs)
    for run in runs:
        left = run.flops(run.total_nimg) - run.flops(run.nimg_so_far())
        takes = f"; {rate.hours(left)}"
        if run.has_diverged():
            state, takes = "diverged, not repeated", ""
        elif run.is_finished():
            state, takes = "trained already, reused", ""
        else:
            state = "begun" if run.has_begun() else "missing"
            total += left
        print(f"{run.workdir}: {run.total_nimg / 1000:,.1f} kimg; {state}{takes}")
    print(
        f"to be trained: {rate.hours(total)}, {total / 1e12:,.3g} TFLOP at a sustained "
        f"{rate.flops / 1e12:,.3g} TFLOP/s ({rate.reason}); measuring takes more time"
    )


def _carry_out(
    runs: Sequence[Run], table: Table, reduction: Reduction
) -> frozenset[str] | None:
    """Trains and measures; returns the metrics without weights, or None if stopped."""
    missing: set[str] = set()
    for run in runs:
        set_precision(run.config)
        if not carry_out(run):
            print("stopped; the same command continues", file=sys.stderr)
            return None
        if run.workdir.joinpath("snapshots").is_dir():
            missing |= set(measure(run, table.metrics, reduction))
            if table.at_best and (best := best_snapshot(run, table, reduction)):
                missing |= set(measure(run, table.at_best, reduction, best))
    return frozenset(missing)


def _write(
    workdir: Path,
    name: str,
    table: Table,
    runs: Sequence[Run],
    rows: Sequence[Row],
    reduction: Reduction,
    overrides: Sequence[str],
    missing: frozenset[str],
) -> None:
    outcomes = [read_outcome(run, reduction) for run in runs]
    summaries = [summarise(row, outcomes, table) for row in rows]
    absent = frozenset(name for name in table.columns if metric_of(name) in missing)
    changes = [*reduction.changes(), *_left_out(table, runs, rows)]
    heading = [
        f"{', '.join(changes) or 'The recipe, unchanged'}; {_hardware()}, "
        f"JAX {jax.__version__}."
    ]
    changed = [o for o in overrides if not o.startswith(_PLACES)]
    if changed:
        heading += ["", f"Changed: {', '.join(changed)}."]
    models = [run.config.model for run in runs]
    frozen = dict.fromkeys(itertools.chain(*map(frozen_networks, models)))
    images = {(run.config.data.name, run.config.model.resolution) for run in runs}
    page = to_markdown(
        name,
        table,
        summaries,
        mean_floor(outcomes),
        absent,
        heading,
        tuple(frozen),
        ranked=len(images) == 1,
    )
    write_whole(workdir / f"{name}.md", page)
    write_whole(workdir / f"{name}.csv", to_csv(table, summaries))
    progress = [outcome.progress for outcome in outcomes]
    curves.draw_values(workdir / f"{name}.png", progress, table.columns, tuple(frozen))
    curves.draw_levels(workdir / f"{name}-levels.png", progress)
    curves.draw_throughput(workdir / f"{name}-throughput.png", progress)
    print(page)


def _left_out(table: Table, runs: Sequence[Run], rows: Sequence[Row]) -> Iterator[str]:
    """Yields how many of the paper's rows and seeds are run, unless all are."""
    if len(rows) < len(table.rows):
        yield f"{len(rows)} of {len(table.rows)} rows"
    seeds = len(runs) // len(rows)
    if seeds != table.num_runs:
        yield f"{seeds} seed(s) for the paper's {table.num_runs}"


def _hardware() -> str:
    devices = jax.devices()
    if devices[0].platform == "cpu":
        return f"{os.cpu_count()} CPU cores ({platform.machine()})"
    return f"{len(devices)} x {devices[0].device_kind}"


if __name__ == "__main__":
    run_with_overrides(main, "table")
