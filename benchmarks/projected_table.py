"""A record of `benchmarks.projected` as Markdown."""

from collections.abc import Iterator
from typing import Any

from benchmarks.table_lines import Row, line

_HEADER = (
    "lite0's input",
    "projecting, images/s",
    "D's step, images/s",
    "G's step, images/s",
    "compile, s",
)


def projected_table(record: dict[str, Any]) -> Iterator[str]:
    """Yields the lines of a record."""
    yield from projected_heading(record)
    for row in record["rows"]:
        yield projected_line(record, row)


def projected_heading(record: dict[str, Any]) -> Iterator[str]:
    """Yields what is measured on what, and the table's two first lines."""
    weights = ", ".join(f"{name} of {file}" for name, file in record["weights"].items())
    yield (
        f"{record['device']}, {record['cores']} cores, JAX "
        f"{record['versions']['jax']}, float32, batch {record['batch']} of "
        f"{record['resolution']}x{record['resolution']}, {record['seconds']:g} s each; "
        f"weights: {weights}"
    )
    yield ""
    yield line([*_HEADER])
    yield line(["---"] * len(_HEADER))


def projected_line(record: dict[str, Any], row: Row) -> str:
    """Returns the line of one side."""
    times = (row[name] for name in ("project_ms", "d_ms", "g_ms"))
    rates = [f"{1000 * record['batch'] / ms:,.2f}" for ms in times]
    return line([str(row["side"]), *rates, f"{row['compile_sec']:.1f}"])
