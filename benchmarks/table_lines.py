"""Lines that the tables of all records have."""

from typing import Any

from benchmarks.roofline import Peaks

Row = dict[str, Any]
"""Of a record: what was measured once."""


def line(cells: list[str]) -> str:
    """Returns a line of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def peaks_line(device: str, dtype: str, peaks: Peaks) -> str:
    """Returns what is measured on what, and what that can do."""
    return (
        f"{device}, {dtype}; measured peaks: {peaks.flops / 1e9:,.1f} GFLOP/s in "
        f"matrix products, {peaks.bandwidth / 1e9:,.1f} GB/s in copies"
    )
