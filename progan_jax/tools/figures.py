"""Plots of runs: values of metrics, levels, throughput and classes, as PNG.

    python -m progan_jax.tools.figures --runs=DIR[,DIR...] --out=DIR
        [--labels=growing,fixed] [--figures=swd_average,fid]

The values are those that --mode=eval has measured, under each run's newest settings.
Writes, as far as there is something to draw:

    figures.png     values against images shown and against training time
    levels.png      the sliced Wasserstein distance of each level against both
    throughput.png  images shown against training time
    classes.png     shares of the classes, of each run's newest snapshot
    truncation.png  values by truncation, of each run's newest snapshot
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from progan_jax.errors import UserError
from progan_jax.experiments import curves
from progan_jax.files import writing_to
from progan_jax.metrics.ranking import frozen_networks
from progan_jax.metrics.scoreboard import Progress, latest_settings, read_progress
from progan_jax.runtime.command_line import run
from progan_jax.training.workdir import read_config

RUNS = flags.DEFINE_list("runs", None, "Folders of runs.")

OUT = flags.DEFINE_string("out", None, "Folder for the PNGs.")

LABELS = flags.DEFINE_list("labels", None, "Names of the runs; their folders' if unset")

FIGURES = flags.DEFINE_list("figures", None, "Values in figures.png; all if unset.")


def main() -> None:
    """Reads the flags and the records, and draws."""
    if not RUNS.value or not OUT.value:
        raise UserError(
            f"--{'out' if RUNS.value else 'runs'} is missing: write --runs=DIR,DIR "
            "--out=DIR"
        )
    runs = _read(RUNS.value, LABELS.value)
    names = _choose(runs, FIGURES.value)
    out = Path(OUT.value)
    names_of_files = ("figures", "levels", "throughput", "classes", "truncation")
    files = [out / f"{name}.png" for name in names_of_files]
    with writing_to("--out", out):
        out.mkdir(parents=True, exist_ok=True)
        for file in files:
            file.unlink(missing_ok=True)
        curves.draw_values(files[0], runs, names, _frozen(RUNS.value))
        curves.draw_levels(files[1], runs)
        curves.draw_throughput(files[2], runs)
        curves.draw_classes(files[3], runs)
        curves.draw_truncation(files[4], runs)
    print("\n".join(str(file) for file in files if file.exists()))


def _read(folders: Sequence[str], labels: Sequence[str] | None) -> list[Progress]:
    labels = [Path(f).name for f in folders] if labels is None else labels
    if len(labels) != len(folders):
        raise UserError(
            f"--labels={','.join(labels)} must name each of the {len(folders)} "
            "folder(s) of --runs; write as many"
        )
    runs = []
    for folder, label in zip(map(Path, folders), labels, strict=True):
        read_config(folder, "--runs")  # Refuses a folder that is not a run's.
        runs.append(read_progress(folder, label, latest_settings(folder)))
    return runs


def _frozen(folders: Sequence[str]) -> set[str]:
    """Returns the names of the frozen networks of the runs' discriminators."""
    models = [read_config(Path(folder), "--runs").model for folder in folders]
    return {name for model in models for name in frozen_networks(model)}


def _choose(runs: Sequence[Progress], wanted: Sequence[str] | None) -> list[str]:
    measured = list(dict.fromkeys(name for run in runs for name in run.names()))
    if wanted is None:
        return [n for n in measured if not n.endswith("_std") and "share" not in n]
    for name in wanted:
        if name not in measured:
            raise UserError(
                f"--figures={','.join(wanted)}: no run has {name!r}; choose from "
                f"{', '.join(measured) or 'what --mode=eval will have measured'}"
            )
    return list(wanted)


if __name__ == "__main__":
    run(main)
