"""A record of benchmarks.accelerator as Markdown; benchmarks.results prints it too."""

from collections.abc import Iterator
from typing import Any

from benchmarks.roofline import Floors, Peaks
from benchmarks.table_lines import Row, line, peaks_line

_HEADER = (
    "case",
    "ms a pair",
    "images/s",
    "% of floor",
    "memory, MiB",
    "compile, s",
)


def case_table(record: dict[str, Any]) -> Iterator[str]:
    """Yields the lines of a record: what was measured on what, then all results."""
    for dtype, peaks in record["peaks"].items():
        yield peaks_line(record["device"], dtype, Peaks(**peaks))
    yield (
        f"Commit {record.get('git') or 'unknown'}, JAX "
        f"{record.get('versions', {}).get('jax', 'unknown')}, driver "
        f"{record.get('driver') or 'unknown'}, {record.get('date', 'no date')}; "
        f"programs compiled {record['cache']}; {record['took_sec']:.0f} s in all"
    )
    rows = record["cases"]
    timed = [row for row in rows if row["kind"] == "steps" and "ms" in row]
    peers = {
        (row["recipe"], row["resolution"]): row["ms"]
        for row in rows
        if row["kind"] == "peer" and "ms" in row
    }
    if timed or peers:
        yield from _steps(record, timed, peers)
    if others := list(_others(rows)):
        yield from ["", *others]


def _steps(
    record: dict[str, Any], timed: list[Row], peers: dict[tuple[str, int], float]
) -> Iterator[str]:
    of_peer = [f"{record['peer']} in float32, ms"] if record["peer"] else []
    header = [*_HEADER, *of_peer]
    yield ""
    yield line(header)
    yield line(["---"] * len(header))
    for row in timed:
        of_peer = [_ms(peers.pop(_stage(row), None))] if record["peer"] else []
        yield line([*_cells(row, record["peaks"].get(row["dtype"])), *of_peer])
    for (recipe, resolution), ms in peers.items():
        empty = [""] * (len(_HEADER) - 1)
        yield line([f"{recipe} {resolution}", *empty, _ms(ms)])
    if record["peer"]:
        yield ""
        yield (
            f"{record['peer']} takes alternating steps of plain layers, also where the "
            "recipe's are simultaneous (cifar10) or fused (hq)."
        )


def _stage(row: Row) -> tuple[str, int]:
    return row["recipe"], row["resolution"]


def _cells(row: Row, peaks: dict[str, float] | None) -> list[str]:
    seconds = row["ms"] / 1000
    share = "-"
    if peaks:
        floor = Floors(**row["floors"]).seconds(Peaks(**peaks))
        share = f"{100 * floor / seconds:.1f}"
    return [
        f"{row['recipe']} {row['resolution']} {row['dtype']}",
        _ms(row["ms"]),
        f"{row['images'] / seconds:,.1f}",
        share,
        f"{row['peak_bytes'] / 2**20:,.0f}",
        f"{row['compile_sec']:.1f}" + (" (cached)" if row["from_cache"] else ""),
    ]


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}"


def _others(rows: list[Row]) -> Iterator[str]:
    """Yields a line for every other result, and for what is missing."""
    for row in rows:
        if row["kind"] == "seeds" and row.get("rows"):
            alone = row["rows"][0]["ms"]
            rates = (
                f"{found['seeds']}: {found['ms']:,.2f} "
                f"({found['seeds'] * alone / found['ms']:.2f})"
                for found in row["rows"]
            )
            yield (
                f"- {row['case']}: ms for a pair of every seed (and pairs x seeds "
                f"per second, of one seed's): {', '.join(rates)}"
            )
        elif row["kind"] == "deterministic" and "same_bits" in row:
            yield f"- {row['case']}: {_ms(row.get('ms'))} ms a pair, {_bits(row, rows)}"
    for row in rows:
        if row["status"] != "ok":
            yield f"- {row['case']}: {row['status']}: {row.get('error', '')}"


def _bits(row: Row, rows: list[Row]) -> str:
    """Returns what the digests of a case say, beside those of the first compilation."""
    said = (
        "two runs have " + ("the same" if row["same_bits"] else "different") + " bits"
    )
    first = next(r for r in rows if r["kind"] == row["kind"] and _same(r, row))
    if first is row or "digests" not in first:
        return said
    same = first["digests"][0] == row["digests"][0]
    return said + (", as" if same else ", but not") + " of the first compilation"


def _same(a: Row, b: Row) -> bool:
    return _stage(a) == _stage(b) and a["dtype"] == b["dtype"]
