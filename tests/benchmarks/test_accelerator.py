"""Order, deadlines and record of benchmarks.accelerator, with a clock of its own."""

import json
import re
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from absl import flags

from benchmarks import peer_flags
from benchmarks.cases import DEVICE, Case, cases, config_of
from benchmarks.deadlines import Budget, run_cases
from benchmarks.processes import Outcome
from progan_jax.errors import UserError
from progan_jax.training.config import make_schedule
from progan_jax.training.validation import validate
from tests.in_process import tool

ROOT = Path(__file__).parents[2]


class Machine:
    """A device on which every case takes a given time by the clock."""

    def __init__(self, seconds, budget=590.0, **outcomes):
        self.now, self.seconds, self.outcomes = 0.0, seconds, outcomes
        self.budget = Budget(budget, clock=lambda: self.now)
        self.asked, self.rows = [], []
        self.stop = threading.Event()

    def ask(self, case, seconds):
        self.asked.append((case.name, seconds))
        needs = self.seconds
        outcome = self.outcomes.get(case.kind, Outcome("ok", {"ms": 1.0}))
        if outcome.status == "timed out":
            needs = float("inf")
        self.now += min(needs, seconds)
        if needs > seconds:
            return Outcome("timed out", outcome.answer, "ended")
        return outcome

    def keep(self, case, row):
        assert row["case"] == case.name
        self.rows.append(row)

    def run(self, plan):
        run_cases(plan, self.ask, self.budget, self.stop, self.keep)
        return [row["status"] for row in self.rows]


def test_what_matters_most_comes_first():
    names = [case.name for case in cases(accelerator=True, peer=True)]
    assert names[:5] == [
        "steps hq 1024 bfloat16",
        "steps hq 256 bfloat16",
        "steps hq 128 bfloat16",
        "steps cifar 32 float32",
        "steps cifar 4 float32",
    ]
    assert [n.split()[2] for n in names[5:11]] == ["64", "16", "512", "32", "4", "8"]
    kinds = list(Counter(n.split()[0] for n in names))
    assert kinds == ["steps", "peer", "seeds", "deterministic"]
    assert len(set(names)) == len(names)


def test_the_first_four_are_profiled():
    plan = cases(accelerator=True, peer=False)
    assert [case.profile for case in plan] == [True] * 4 + [False] * (len(plan) - 4)
    assert not [case for case in plan if case.kind == "peer"]


def test_without_an_accelerator_there_is_one_small_case():
    assert [c.name for c in cases(False, False)] == ["steps cifar 4 float32"]
    assert [c.kind for c in cases(False, True)] == ["steps", "peer"]


@pytest.mark.parametrize("case", cases(True, True), ids=lambda case: case.name)
def test_every_case_is_one_devices_part_of_a_run(case):
    config = config_of(case)
    validate(config, 1)
    batch = make_schedule(config).batch_size[case.resolution]
    shares = {4: 64, 8: 32, 16: 16, 32: 8}
    assert batch == (16 if case.recipe == "cifar" else shares.get(case.resolution, 4))
    assert config.model.dtype == case.dtype
    assert config.runtime.deterministic == (case.kind == "deterministic")
    assert case.least < case.limit


def test_all_cases_run_one_after_another_if_there_is_time():
    plan = cases(True, True)
    machine = Machine(seconds=20)
    assert machine.run(plan) == ["ok"] * len(plan)
    assert [name for name, _ in machine.asked] == [case.name for case in plan]
    assert {row["took_sec"] for row in machine.rows} == {20}


def test_a_case_that_hangs_takes_its_limit_and_the_next_one_starts():
    machine = Machine(5, peer=Outcome("timed out", {"found": 1}))
    plan = [Case("steps", "hq", 8), Case("peer", "hq", 8, limit=60), DEVICE]
    assert machine.run(plan) == ["ok", "timed out", "ok"]
    assert [row["took_sec"] for row in machine.rows] == [5, 60, 5]
    assert machine.rows[1]["found"] == 1


def test_a_case_that_fails_is_recorded_with_its_error():
    machine = Machine(5, steps=Outcome("failed", {"compile_sec": 2}, "XError: y"))
    assert machine.run([Case("steps", "hq", 8), DEVICE]) == ["failed", "ok"]
    row = machine.rows[0]
    assert (row["error"], row["compile_sec"]) == ("XError: y", 2)
    assert row["case"] == "steps hq 8 float32"


def test_the_rest_of_the_time_is_the_last_deadline_and_never_exceeded():
    plan = cases(True, True)
    machine = Machine(70, budget=170)
    statuses = machine.run(plan)
    assert machine.now <= 170
    assert [limit for _, limit in machine.asked] == [150, 100, 30]
    assert statuses[:3] == ["ok", "ok", "timed out"]
    assert set(statuses[3:]) == {"skipped"}
    assert machine.rows[3]["error"] == "it needs 12 s, and 0 s are left"


def test_a_shorter_case_may_still_fit():
    plan = [Case("steps", "hq", 64, least=20), Case("steps", "hq", 8, least=12)]
    assert Machine(5, budget=15).run(plan) == ["skipped", "ok"]


def test_nothing_starts_after_the_command_is_ended():
    machine = Machine(5)
    machine.stop.set()
    assert machine.run([DEVICE]) == ["skipped"]
    assert not machine.asked


@pytest.fixture
def names(tmp_path, monkeypatch):
    """The names of the command, without the folder of records."""
    with tool("benchmarks.accelerator") as names:
        monkeypatch.setitem(names, "_RESULTS", tmp_path)
        yield names


def test_the_time_begins_with_the_process_and_not_after_its_imports():
    code = (
        "import time; time.sleep(1.5); from benchmarks.deadlines import *; "
        "print(process_seconds(), Budget(9, taken=process_seconds()).left)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    taken, left = map(float, done.stdout.split())
    assert taken > 1.4 and left < 7.6


def test_the_record_is_written_after_every_case(names, tmp_path, capsys):
    record = names["_Record"](Budget(60.0), "without a cache")
    found = {"device": "Chip X/2", "date": "2026-11-28T01:02:03+00:00", "peaks": {}}
    row = {"case": "device", "kind": "device", "status": "ok", "took_sec": 9.0}
    record.keep(DEVICE, row | found)
    path = tmp_path / "chip-x-2-2026-11-28.json"
    assert json.loads(path.read_text())["device"] == "Chip X/2"
    table = [["a[0]", "b  c", 1.5, 2], ["d", "e", 3.0, 4]]
    case = Case("steps", "hq", 8)
    more = {"case": case.name, "kind": "steps", "status": "ok", "took_sec": 1.0}
    record.keep(case, more | {"profile": {"kernels": table}, "ms": 2.5})
    value = json.loads(path.read_text())
    assert value["cases"][0] == row
    assert value["cases"][1]["profile"]["kernels"] == table
    assert '[ "d", "e", 3.0, 4 ]' in path.read_text(), "a row a line"
    assert capsys.readouterr().out.splitlines()[-1] == "steps hq 8 float32: ok, 1 s"


def test_a_record_of_the_same_day_is_kept(names, tmp_path):
    for _ in range(2):
        names["_Record"](Budget(60.0), "").save()
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"unknown-undated.json", "unknown-undated-1.json"}


def test_a_record_that_cannot_be_written_ends_nothing(names, tmp_path, capsys):
    record = names["_Record"](Budget(60.0), "")
    record.path = tmp_path / "absent" / "x.json"
    record.save()
    assert "the record is not up to date" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"minutes": 0.9}, "--minutes=0.9 is too short for the first case; give at"),
        ({"minutes": float("nan")}, "--minutes=nan must be a number; give at least 1"),
        ({"minutes": float("inf")}, "--minutes=inf must be a number; give at least 1"),
        ({"peer": "gan_zoo"}, "--peer=gan_zoo needs --peer_path, the folder of a"),
        ({"peer": "gan_zoo", "peer_path": "/x"}, "--peer_path=/x: there is no such f"),
        ({"peer_path": "/x"}, "no such folder; name a checkout of gan_zoo (benchm"),
        ({"peer_python": "/x"}, "--peer_python is without effect alone; name a che"),
        ({"json": "/proc/x.json"}, "--json=/proc/x.json: "),
        ({"cache": "/proc/x"}, "--cache=/proc/x: "),
    ],
)
def test_impossible_flags_are_one_line_each(names, monkeypatch, given, reason):
    for name, value in given.items():
        monkeypatch.setattr(flags.FLAGS[name], "value", value)
        monkeypatch.setattr(flags.FLAGS[name], "present", 1)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with pytest.raises(UserError, match=re.escape(reason)):
        names["main"]()


def test_a_mistake_ends_the_command_with_code_2():
    command = [sys.executable, "-m", "benchmarks.accelerator", "--minutes=0.5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: --minutes=0.5 is too short")
    assert (done.returncode, done.stdout) == (2, "")


def test_peers_are_read_without_pytorch():
    names = [name for peers in peer_flags.PEERS_OF.values() for name in peers]
    assert sorted(peer_flags.peer_names()) == sorted(names)


@pytest.mark.parametrize("module", ["accelerator", "case"])
def test_tensorflow_and_its_data_sets_are_not_imported(module):
    code = (
        f"import sys, benchmarks.{module}; "
        "print(sorted({m.split('.')[0] for m in sys.modules}))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    names = done.stdout
    for absent in ("tensorflow", "tensorflow_datasets", "grain", "torch", "clu"):
        assert f"'{absent}'" not in names
    assert "'jax'" in names
