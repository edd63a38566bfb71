"""Draws what runs have recorded: figures of snapshots, images against time.

    python -m progan_jax.tools.figures --runs=DIR[,DIR...] --out=DIR
        [--labels=growing,fixed] [--figures=swd_average,fid]

Figures are those that --mode=eval has measured, under each run's newest settings.
Written are, as far as there is something to draw:

    figures.png     figures against images shown and against training time
    levels.png      the sliced Wasserstein distance of each level against both
    throughput.png  images shown against training time
    classes.png     shares of the classes, of each run's newest snapshot

Needs Matplotlib, which the extra `plots` installs.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from progan_jax.errors import UserError
from progan_jax.experiments import curves
from progan_jax.metrics.scoreboard import Progress, latest_settings, read_progress
from progan_jax.runtime.command_line import run
from progan_jax.training.workdir import read_config

RUNS = flags.DEFINE_list("runs", None, "Folders of runs.")

OUT = flags.DEFINE_string("out", None, "Folder for the PNGs.")

LABELS = flags.DEFINE_list("labels", None, "Names of the runs; their folders' if unset")

FIGURES = flags.DEFINE_list("figures", None, "What figures.png shows; all if unset.")


def main() -> None:
    """Reads the flags and the records, and draws."""
    if not RUNS.value or not OUT.value:
        raise UserError(
            f"--{'out' if RUNS.value else 'runs'} is missing: write --runs=DIR,DIR "
            "--out=DIR"
        )
    if not curves.can_draw():
        raise UserError(
            "Matplotlib is missing; install it with: pip install 'progan_jax[plots]'"
        )
    runs = _read(RUNS.value, LABELS.value)
    figures = _choose(runs, FIGURES.value)
    out = Path(OUT.value)
    try:
        out.mkdir(parents=True, exist_ok=True)
        drawn = _draw(out, runs, figures)
    except OSError as error:
        raise UserError(f"--out={out}: {error}; choose another folder") from error
    print("\n".join(map(str, drawn)))


def _read(folders: Sequence[str], labels: Sequence[str] | None) -> list[Progress]:
    labels = [Path(f).name for f in folders] if labels is None else labels
    if len(labels) != len(folders):
        raise UserError(
            f"--labels={','.join(labels)} must name each of the {len(folders)} "
            "folder(s) of --runs; write as many"
        )
    runs = []
    for folder, label in zip(map(Path, folders), labels, strict=True):
        read_config(folder, "--runs")  # Refuses what is no run's folder.
        runs.append(read_progress(folder, label, latest_settings(folder)))
    return runs


def _choose(runs: Sequence[Progress], wanted: Sequence[str] | None) -> list[str]:
    there = list(dict.fromkeys(name for run in runs for name in run.names()))
    for name in wanted or ():
        if name not in there:
            raise UserError(
                f"--figures={','.join(wanted or ())}: no run has {name!r}; choose from "
                f"{', '.join(there) or 'what --mode=eval will have measured'}"
            )
    if wanted is not None:
        return list(wanted)
    return [n for n in there if not n.endswith("_std") and "share" not in n]


def _draw(out: Path, runs: Sequence[Progress], figures: Sequence[str]) -> list[Path]:
    """Returns the files that were written."""
    files = {
        n: out / f"{n}.png" for n in ("figures", "levels", "throughput", "classes")
    }
    for file in files.values():
        file.unlink(missing_ok=True)
    curves.draw_figures(files["figures"], runs, figures)
    curves.draw_levels(files["levels"], runs)
    curves.draw_throughput(files["throughput"], runs)
    curves.draw_classes(files["classes"], runs)
    return [file for file in files.values() if file.exists()]


if __name__ == "__main__":
    run(main)
