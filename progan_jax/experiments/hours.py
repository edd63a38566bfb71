"""The training time of a table's runs: from runs on this machine, or a guess."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import jax

from progan_jax.experiments.runs import Run
from progan_jax.metrics.scoreboard import has_numbers
from progan_jax.runtime.logging import read_rows
from progan_jax.training.workdir import read_record

# Floating-point operations per second that training sustained in float32: 127 GFLOP/s
# of a core at 32x32 with the maps of configs/cifar10.py (benchmarks/README.md), and 10
# to 72 TFLOP/s of an H100 from 8x8 to 32x32 (2026-11-28). Others were not measured.
_PER_CORE, _PER_DEVICE = 1e11, 5e13

_BAND = "right within a factor of three or so; ticks of a run here replace it"

_AXES = ("Progress/nimg", "Timing/total_sec")


@dataclass(frozen=True)
class Rate:
    """The speed of this machine.

    Attributes:
      flops: Floating-point operations per second.
      reason: Where the value comes from.
    """

    flops: float
    reason: str

    def hours(self, flops: float) -> str:
        """Returns the time of a number of operations, as text."""
        rounded = float(f"{flops / self.flops / 3600:.2g}")
        return f"about {rounded:,g} h"


def sustained_rate(runs: Sequence[Run]) -> Rate:
    """Returns the rate of runs that were trained here, or else a guess."""
    flops = sec = 0.0
    for run in runs:
        rows = read_rows(run.workdir / "stats.jsonl") if _was_here(run) else []
        if rows and has_numbers(rows[-1], _AXES):
            flops += run.flops(rows[-1]["Progress/nimg"])
            sec += rows[-1]["Timing/total_sec"]
    if flops and sec:
        return Rate(flops / sec, "measured in runs of the table here")
    devices = jax.devices()
    if devices[0].platform == "cpu":
        cores = os.cpu_count() or 1
        return Rate(_PER_CORE * cores, f"a guess for {cores} cores, {_BAND}")
    count, kind = len(devices), devices[0].device_kind
    return Rate(_PER_DEVICE * count, f"a guess for {count} x {kind}, {_BAND}")


def _was_here(run: Run) -> bool:
    """Returns whether a run was last started on devices such as these."""
    if not run.has_begun():
        return False
    devices = jax.devices()
    here = {"device_kind": devices[0].device_kind, "device_count": len(devices)}
    starts = read_record(run.workdir, "--workdir")["starts"]
    return bool(starts) and starts[-1].items() >= here.items()
