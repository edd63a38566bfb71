"""A record as Markdown: `python -m benchmarks.results FILE`.

A record is what `--json=FILE` of `benchmarks.train_step` writes: hardware, versions,
commit, date, the configuration, the measured peaks and, of each resolution, times,
floors and memory. Those of `benchmarks.accelerator` are benchmarks/case_table.py's,
those of `stem` and `projected` the files' of these names.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_collections

from benchmarks.case_table import case_table
from benchmarks.projected_table import projected_table
from benchmarks.roofline import Floors, Peaks
from benchmarks.stem_table import stem_table
from benchmarks.table_lines import Row, line, peaks_line
from progan_jax.errors import UserError
from progan_jax.runtime.command_line import run
from progan_jax.training.config import make_schedule
from progan_jax.training.costs import PASSES
from progan_jax.training.schedule import Schedule

_HEADER = (
    "resolution",
    "batch",
    "ms a pair",
    "images/s",
    "s/kimg",
    "GFLOP a pair",
    "% of matmul",
    "% of bandwidth",
    "% of floor",
    "memory, MiB",
    "compile, s",
)


def table(record: dict[str, Any]) -> Iterator[str]:
    """Yields the lines of a record: heading, rows, projection."""
    yield from heading(record)
    for row in record["rows"]:
        yield row_line(record, row)
    schedule = make_schedule(ml_collections.ConfigDict(record["config"]))
    yield ""
    yield projection(schedule, record["rows"])


def heading(record: dict[str, Any]) -> Iterator[str]:
    """Yields what is measured on what, and the table's two first lines."""
    dtype = record["config"]["model"]["dtype"]
    yield peaks_line(record["device"], dtype, Peaks(**record["peaks"]))
    if record["as_the_peer"]:
        changed = ", ".join(record["as_the_peer"])
        yield f"Not the recipe's, but as {record['peer']} trains: {changed}"
    yield (
        f"GFLOP and percentages are by a formula of {PASSES} forward passes "
        "(benchmarks/roofline.py), a yardstick and no bound: what is quicker is above "
        "100 %"
    )
    yield ""
    of_peer = [f"{record['peer']}, images/s", "ratio"] if record["peer"] else []
    header = [*_HEADER, *of_peer]
    yield line(header)
    yield line(["---"] * len(header))


def row_line(record: dict[str, Any], row: Row) -> str:
    """Returns the line of one resolution."""
    peaks, floor = Peaks(**record["peaks"]), Floors(**row["floors"])
    seconds = row["ms"] / 1000
    cells = [
        str(row["resolution"]),
        str(row["images"]),
        f"{row['ms']:,.2f}",
        f"{row['images'] / seconds:,.2f}",
        f"{1000 * seconds / row['images']:,.2f}",
        f"{floor.flops / 1e9:,.1f}",
        f"{100 * floor.flops / seconds / peaks.flops:.1f}",
        f"{100 * floor.num_bytes / seconds / peaks.bandwidth:.1f}",
        f"{100 * floor.seconds(peaks) / seconds:.1f}",
        f"{row['peak_bytes'] / 2**20:,.0f}",
        f"{row['compile_sec']:.1f}",
    ]
    if "peer" in row:
        peer = row["peer"]["images"] / (row["peer"]["ms"] / 1000)
        cells += [f"{peer:,.2f}", f"{row['images'] / seconds / peer:.2f}"]
    return line(cells)


def projection(schedule: Schedule, rows: list[Row]) -> str:
    """Returns the hours of the schedule at these speeds, with and without growth.

    Args:
      schedule: The run's schedule, with the batches of one device.
      rows: Measured; all resolutions of the run, or there is no projection.
    """
    seconds = {r["resolution"]: r["ms"] / 1000 / r["images"] for r in rows}
    stages = schedule.stages()
    if missing := {s.resolution for s in stages} - seconds.keys():
        return f"No projection: {', '.join(map(str, sorted(missing)))} not measured."
    shown = [schedule.stage_end(s) - s.start_nimg for s in stages]
    growing = sum(n * seconds[s.resolution] for n, s in zip(shown, stages, strict=True))
    still = sum(shown) * seconds[stages[-1].resolution]
    return (
        f"The schedule's {sum(shown) / 1000:,.0f} kimg, without evaluation, saving and "
        f"communication between devices, with these batches on each device: "
        f"{growing / 3600:,.2f} hours on one, {growing / 8 / 3600:,.2f} on eight. As "
        f"many images at {stages[-1].resolution}x{stages[-1].resolution} alone: "
        f"{still / 3600:,.2f} and {still / 8 / 3600:,.2f} hours, "
        f"{still / growing:.1f} times as long."
    )


def _table_of(record: dict[str, Any]) -> Callable[[dict[str, Any]], Iterator[str]]:
    """Returns the function that yields the lines of a record."""
    if "cases" in record:
        return case_table
    others = {
        "benchmarks.projected": projected_table,
        "benchmarks.stem": stem_table,
    }
    return others.get(record.get("program", ""), table)


def main(name: str) -> None:
    """Prints the table of a record."""
    try:
        record = json.loads(Path(name).read_text())
        lines = list(_table_of(record)(record))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"{name}: it is not a record of benchmarks.train_step, accelerator, stem "
            f"or projected ({type(error).__name__}: {error}); name a file "
            "that --json wrote"
        ) from error
    print("\n".join(lines))


if __name__ == "__main__":
    run(main, "file")
