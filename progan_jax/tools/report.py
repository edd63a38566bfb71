"""Writes the report of a run: one self-contained HTML page.

    python -m progan_jax.tools.report RUN [--out=FILE]

It shows the configuration, the schedule, the curves, the metrics of the snapshots, and
the grids under a slider. A training run writes RUN/report.html by itself at its
snapshots, and --mode=eval rewrites it.
"""

from pathlib import Path

from absl import flags

from progan_jax.display.page import NAME, write_report
from progan_jax.errors import warn
from progan_jax.files import local_folder
from progan_jax.runtime.command_line import run

OUT = flags.DEFINE_string("out", None, "The HTML file; report.html in RUN if unset.")


def main(run: str) -> None:
    """Reads the records and writes."""
    folder = local_folder("RUN", run)
    out = Path(OUT.value) if OUT.value else folder / NAME
    pictures = write_report(folder, out)
    if pictures.unreadable:
        names = ", ".join(pictures.unreadable)
        warn(f"left out, as they cannot be read: {names} in {folder / 'grids'}")
    print(
        f"{out}: {out.stat().st_size / 2**20:.1f} MiB, {len(pictures.fakes)} of "
        f"{pictures.num_fakes} grids"
    )


if __name__ == "__main__":
    run(main, "RUN")
