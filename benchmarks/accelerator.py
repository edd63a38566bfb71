"""All that ten minutes of a GPU or TPU show: `python -m benchmarks.accelerator`.

Measures one device, what matters most first: the steps of celeba_hq:v2_8gpus ("hq", one
device's share of eight) and cifar10 by resolution, with a profile of the first four;
another program; several seeds at once; and runtime.deterministic. Prints a Markdown
table, also when it is ended early. Without an accelerator one small case runs.

    --minutes=10                    after which it has ended, whatever fails
    --peer_path=DIR                 a checkout of another program: pytorch_GAN_zoo, or
                                    --peer=NAME of benchmarks/peers.py
    --json=FILE                     the record, written after every case; by default
                                    benchmarks/results/DEVICE-DATE.json
    --cache=DIR                     a folder of compiled programs; by default one that
                                    is empty, so that all compile times are cold

Each case is a process of its own, one after another, with its own deadline. One that
fails, or takes too long, is recorded with the last line of its error and what it had
found until then. benchmarks/cases.py has them all. `python -m benchmarks.results FILE`
prints the table of a record again.
"""

import contextlib
import json
import math
import os
import platform
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks.case_table import case_table
from benchmarks.cases import DEVICE, Case, cases, config_of
from benchmarks.deadlines import Budget, process_seconds, run_cases
from benchmarks.peer_flags import check_peer_path, peer, peer_command, peer_request
from benchmarks.processes import Outcome, ask, stop_by_signals
from progan_jax.errors import UserError, reason, warn
from progan_jax.files import write_whole, writing_to
from progan_jax.runtime.command_line import run

MINUTES = flags.DEFINE_float("minutes", 10.0, "Time after which it has ended.")
SECONDS = flags.DEFINE_float("seconds", 3.0, "Of each timing.", lower_bound=0.01)
JSON = flags.DEFINE_string("json", None, "File to write the record to.")
CACHE = flags.DEFINE_string("cache", None, "Folder of compiled programs.")

_RESULTS = Path(__file__).with_name("results")
_LEAST_MINUTES = 1.0
_ROW = re.compile(r"\[\s[^\[\]{}]*\]")  # Of a table, in indented JSON.
# Seconds of the end: the last process must die and the table be printed.
_MARGIN = 10.0


def main() -> None:
    """Runs all cases, and prints the table."""
    check_peer_path()
    if not _LEAST_MINUTES <= MINUTES.value < math.inf:
        rule = "is too short for the first case"
        raise UserError(
            f"--minutes={MINUTES.value:g} "
            f"{rule if MINUTES.value < _LEAST_MINUTES else 'must be a number'}; give "
            f"at least {_LEAST_MINUTES:g}"
        )
    budget = Budget(60 * MINUTES.value - _MARGIN, taken=process_seconds())
    stop, signals = stop_by_signals()
    with _open_cache() as (folder, cache):
        record = _Record(budget, cache)
        if JSON.value:
            with writing_to("--json", JSON.value):
                record.path = Path(JSON.value)
                record.path.parent.mkdir(parents=True, exist_ok=True)
                record.write()
        _measure(record, partial(_ask, folder=folder, stop=stop), stop)
    record.value["stopped"] = signal.Signals(signals[0]).name if signals else None
    record.save()
    print("\n".join(["", *case_table(record.value), "", f"Record: {record.path}"]))
    if signals:
        sys.exit(128 + signals[0])
    if not any("ms" in row for row in record.value["cases"]):
        sys.exit(1)


def _measure(record: "_Record", ask_case: Any, stop: threading.Event) -> None:
    """Runs the case of the device, then those that it has."""
    run_cases([DEVICE], ask_case, record.budget, stop, record.keep)
    found = record.value["platform"]
    if found == "cpu":
        print("No accelerator: JAX has only the CPU; one small case runs on it.")
    plan = cases(found != "cpu", bool(peer()))
    run_cases(plan, ask_case, record.budget, stop, record.keep)


def _ask(case: Case, seconds: float, folder: str, stop: threading.Event) -> Outcome:
    """Runs a case in its process."""
    command = [sys.executable, "-m", "benchmarks.case"]
    request: dict[str, Any] = {"kind": case.kind, "seconds": SECONDS.value}
    if case.recipe:
        config = config_of(case)
        request |= {"config": config.to_dict(), "resolution": case.resolution}
        request |= {"profile": case.profile, "seeds": case.seeds}
        if case.kind == "peer":
            command = peer_command()
            request = peer_request(config, case.resolution, SECONDS.value)
    environment = {
        "JAX_COMPILATION_CACHE_DIR": "" if case.fresh else folder,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    }
    return ask(command, request, seconds, environment, stop)


@contextlib.contextmanager
def _open_cache() -> Iterator[tuple[str, str]]:
    """Yields the folder of compiled programs, and what it was before."""
    if CACHE.value:
        folder = Path(CACHE.value).resolve()
        with writing_to("--cache", CACHE.value):
            folder.mkdir(parents=True, exist_ok=True)
            count = sum(1 for path in folder.rglob("*") if path.is_file())
        yield str(folder), f"with a cache that had {count} files"
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        yield folder, "without a cache"


class _Record:
    """The record, and its file.

    Attributes:
      budget: The time of the command.
      value: The record.
      path: Its file; by default it has the device's name, once that is known.
    """

    def __init__(self, budget: Budget, cache: str) -> None:
        self.budget = budget
        self.path: Path | None = None
        self.value: dict[str, Any] = {
            "program": "benchmarks.accelerator",
            "device": "unknown",
            "platform": "unknown",
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "minutes": MINUTES.value,
            "seconds": SECONDS.value,
            "cache": cache,
            "peer": peer(),
            "peaks": {},
            "stopped": None,
            "took_sec": 0.0,
            "cases": [],
        }

    def keep(self, case: Case, row: dict[str, Any]) -> None:
        """Adds the row of a case; what is found of the device belongs to all."""
        if case.kind == "device":
            own = ("case", "kind", "status", "took_sec", "error")
            self.value |= {name: row.pop(name) for name in set(row) - set(own)}
        self.value["cases"].append(row)
        self.save()
        said = f"{row['case']}: {row['status']}, {row['took_sec']:.0f} s"
        print(said + (f": {row['error']}" if "error" in row else ""), flush=True)

    def save(self) -> None:
        """Writes the record; if that fails, the next time may succeed."""
        try:
            self.write()
        except OSError as error:
            warn(f"{self.path}: {reason(error)}; the record is not up to date")

    def write(self) -> None:
        """Writes the record, its tables a row a line."""
        self.value["took_sec"] = self.budget.taken
        if self.path is None:
            date = str(self.value.get("date", "undated"))[:10]
            slug = re.sub(r"[^a-z\d]+", "-", self.value["device"].lower()).strip("-")
            # Other records of the day stay.
            numbers = ("", *(f"-{number}" for number in range(1, 100)))
            paths = [_RESULTS / f"{slug}-{date}{n}.json" for n in numbers]
            self.path = next((p for p in paths if not p.exists()), paths[-1])
        text = json.dumps(self.value, indent=2)
        short = _ROW.sub(lambda row: re.sub(r"\s*\n\s*", " ", row[0]), text)
        write_whole(self.path, short + "\n")


if __name__ == "__main__":
    run(main)
