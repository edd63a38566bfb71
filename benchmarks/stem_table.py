"""A record of `benchmarks.stem` as Markdown."""

from collections.abc import Iterator
from typing import Any

from benchmarks.table_lines import Row, line

_KINDS = ("forward", "gradient")
_LOAD = 0.7  # Processes that ran in the minute before, at most.


def stem_table(record: dict[str, Any]) -> Iterator[str]:
    """Yields the lines of a record: heading, rows, and whether sizes are equal."""
    yield from stem_heading(record)
    for row in record["rows"]:
        yield stem_line(record, row)
    yield from stem_ending(record)


def stem_heading(record: dict[str, Any]) -> Iterator[str]:
    """Yields what is measured on what, and the table's two first lines."""
    peer = f", beside stylegan-xl by PyTorch {record['torch']}" * record["has_peer"]
    yield (
        f"{record['device']}, {record['cores']} cores, JAX "
        f"{record['versions']['jax']}, float32, batch {record['batch']}{peer}; best of "
        f"{record['rounds']} of {record['seconds']:g} s"
    )
    if record["load"] > _LOAD:
        yield (
            f"The load was {record['load']:.1f} at the start: no measurement, as "
            "PyTorch with several threads can be 100 times slower on busy cores."
        )
    yield ""
    header = ["resolution", "layers", "maps", "parameters"]
    for kind in _KINDS:
        header.append(f"{kind}, images/s")
        header += ["stylegan-xl, images/s", "ratio"] * record["has_peer"]
    yield line(header)
    yield line(["---"] * len(header))


def stem_line(record: dict[str, Any], row: Row) -> str:
    """Returns the line of one stem."""
    cells = [f"{row[name]:,}" for name in ("resolution", "layers", "width")]
    cells.append(f"{row['parameters']:,}")
    for kind in _KINDS:
        ours, *peers = (
            1000 * record["batch"] / min(row[who][f"{kind}_ms"])
            for who in ("ours", "peer")[: 1 + record["has_peer"]]
        )
        cells.append(f"{ours:,.2f}")
        cells += [cell for p in peers for cell in (f"{p:,.2f}", f"{ours / p:.2f}")]
    return line(cells)


def stem_ending(record: dict[str, Any]) -> Iterator[str]:
    """Yields whether both synthesis networks have as many parameters."""
    if not record["has_peer"]:
        return
    yield ""
    rows = record["rows"]
    if other := [r for r in rows if r["parameters"] != r["peer"]["parameters"]]:
        names = [f"{r['width']} maps at {r['resolution']}" for r in other]
        yield f"NOT of one size: {', '.join(names)}."
    else:
        yield "Both synthesis networks have the same number of parameters, in each row."
