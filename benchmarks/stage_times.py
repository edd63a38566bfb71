"""The time of a complete run, by stage; see benchmarks.schedule."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.table_lines import line

_PARTS = ("training", "compile", "rest")
_HEADER = ("stage", "kimg", *(f"{part}, s" for part in _PARTS), "in all, s")

# Seconds by what they went into, and "nimg", of each stage; 0 is start and end.
Stages = dict[int, Counter[str]]


def by_stage(
    rows: list[dict[str, Any]], compiled: Mapping[int, float], wall: float
) -> Stages:
    """Splits the time; what is between two stages counts with the second.

    Args:
      rows: Rows of stats.jsonl of a run that was never stopped.
      compiled: Seconds of compilation before the k-th row was written, by k, and by
        -1 before the first tick was timed.
      wall: Seconds of the complete run.
    """
    stages: Stages = {}
    before = 0
    for number, row in enumerate(rows):
        stage = stages.setdefault(row["Progress/resolution"], Counter())
        stage["nimg"] += row["Progress/nimg"] - before
        stage["training"] += row["Timing/sec_per_tick"]
        stage["compile"] += compiled.get(number, 0.0)
        stage["rest"] += row["Timing/maintenance_sec"] - compiled.get(number, 0.0)
        before = row["Progress/nimg"]
    outside = compiled.get(-1, 0.0) + compiled.get(len(rows), 0.0)
    stages[0] = Counter(compile=outside)
    stages[0]["rest"] = wall - sum(map(_seconds, stages.values()))
    return stages


def _seconds(stage: Counter[str]) -> float:
    return sum(stage[part] for part in _PARTS)


def _total(stages: Stages) -> Counter[str]:
    total: Counter[str] = Counter()
    for stage in stages.values():
        for name, value in stage.items():
            total[name] += value
    return total


def table(stages: Stages) -> Iterator[str]:
    """Yields the lines of the table of a run."""
    yield line(list(_HEADER))
    yield line(["---"] * len(_HEADER))
    named = {f"{r}x{r}" if r else "start and end": s for r, s in stages.items()}
    for name, stage in [*named.items(), ("all", _total(stages))]:
        seconds = [stage[part] for part in _PARTS] + [_seconds(stage)]
        cells = [f"{value:,.1f}" for value in (stage["nimg"] / 1000, *seconds)]
        yield line([name, *cells])


def ratios(growing: Stages, fixed: Stages) -> str:
    """Returns the line that compares two runs."""
    one, other = _total(growing), _total(fixed)
    return (
        f"Not growing takes {other['training'] / one['training']:.2f} times as long "
        f"in training alone, {_seconds(other) / _seconds(one):.2f} times in all."
    )
