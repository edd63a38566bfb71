"""Cases one after another within a time, whatever becomes of each."""

import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.cases import Case
from benchmarks.processes import Outcome


class Budget:
    """The time of a command.

    Attributes:
      clock: Returns seconds.
    """

    def __init__(
        self,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        taken: float = 0.0,
    ) -> None:
        """Starts now, or began `taken` seconds ago."""
        self.clock = clock
        self._start, self._seconds = clock() - taken, seconds

    @property
    def taken(self) -> float:
        """Seconds since the start."""
        return self.clock() - self._start

    @property
    def left(self) -> float:
        """Seconds until the end."""
        return self._seconds - self.taken


def process_seconds() -> float:
    """Returns the seconds since this process began, before its imports.

    0 where there is no /proc.
    """
    stat = Path("/proc/self/stat")
    if not stat.exists():
        return 0.0
    # Field 22, in ticks since the machine's start; proc(5).
    ticks = int(stat.read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def run_cases(
    cases: Iterable[Case],
    ask: Callable[[Case, float], Outcome],
    budget: Budget,
    stop: threading.Event,
    keep: Callable[[Case, dict[str, Any]], None],
) -> None:
    """Runs all cases that can end in time.

    Args:
      cases: In the order of what matters.
      ask: Runs a case for at most the given seconds.
      budget: The time of all.
      stop: Once it is set, all other cases are skipped.
      keep: Takes every case's row as it comes: status, took_sec, error and results.
    """
    for case in cases:
        left, before = budget.left, budget.taken
        if stop.is_set():
            outcome = Outcome("skipped", error="the command was ended")
        elif left < case.least:
            reason = f"it needs {case.least:.0f} s, and {max(left, 0):.0f} s are left"
            outcome = Outcome("skipped", error=reason)
        else:
            outcome = ask(case, min(case.limit, left))
        row = {"case": case.name, "kind": case.kind}
        if case.recipe:
            row |= {name: getattr(case, name) for name in ("recipe", "resolution")}
            row["dtype"] = case.dtype
        row |= {"status": outcome.status, "took_sec": budget.taken - before}
        if outcome.error:
            row["error"] = outcome.error
        keep(case, row | outcome.answer)
