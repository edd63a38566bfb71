"""Processes that answer, fail, hang, and are ended with all that they started."""

import sys
import threading
import time
from pathlib import Path

import pytest

from benchmarks.processes import ask, supervise


def python(code, seconds=30.0, request=None, stop=None):
    command = [sys.executable, "-c", code]
    return ask(command, request or {}, seconds, {"A": "b"}, stop or threading.Event())


def test_what_it_prints_as_json_is_merged():
    code = """if True:
        import json, os, sys
        print(json.dumps({"a": 1, "b": json.load(sys.stdin)["x"]}))
        print("no JSON, and [1] is no object", [1], sep="\\n")
        print(json.dumps({"a": os.environ["A"]}))"""
    found = python(code, request={"x": 3})
    assert (found.status, found.answer, found.error) == ("ok", {"a": "b", "b": 3}, "")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("raise ValueError('x: y')", "ValueError: x: y"),
        # JAX adds lines after the error's own.
        ("import sys; sys.exit('a.b.SomeError: no memory\\n---\\nlast')", "a.b.SomeE"),
        ("import sys; sys.exit('last')", "last"),
        ("import sys; sys.exit(1)", "no word"),
        ("import os; os.kill(os.getpid(), 9)", "ended by SIGKILL"),
    ],
)
def test_a_failure_has_its_last_error_and_what_was_found_before(code, error):
    found = python(f"print('{{\"a\": 1}}', flush=True)\n{code}")
    assert (found.status, found.answer) == ("failed", {"a": 1})
    assert found.error.startswith(error)


def test_a_missing_program_is_a_failure():
    found = ask(["/absent/python"], {}, 1.0, {}, threading.Event())
    assert (found.status, found.answer) == ("failed", {})
    assert found.error == "/absent/python: No such file or directory"


def is_gone(pid):
    """Waits for the end of a process that is being killed."""
    for _ in range(50):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().split()[2]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False


HANGING = """if True:
    import json, subprocess, sys, time
    child = subprocess.Popen(["sleep", "600"])
    print(json.dumps({"child": child.pid}), flush=True)
    print('{"half"', end="", flush=True)
    time.sleep(600)"""


def test_one_that_hangs_is_ended_with_all_that_it_started():
    started = time.monotonic()
    found = python(HANGING, seconds=2.0)
    assert found.status == "timed out"
    assert found.error.startswith("ended after 2 s")
    assert time.monotonic() - started < 10
    assert is_gone(found.answer["child"])


def test_one_is_ended_when_the_command_is_to_stop():
    stop = threading.Event()
    threading.Timer(1.5, stop.set).start()
    found = python(HANGING, stop=stop)
    assert found.status == "stopped"
    assert is_gone(found.answer["child"])


SAVING = """if True:
    import pathlib, signal, sys, time
    def save(*_):
        time.sleep(float(sys.argv[2]))
        pathlib.Path(sys.argv[1]).write_text("saved")
        sys.exit(0)
    signal.signal(signal.SIGTERM, save)
    pathlib.Path(sys.argv[1]).write_text("began")
    time.sleep(600)"""


@pytest.mark.parametrize(("needs", "left"), [(0.2, "saved"), (600.0, "began")])
def test_one_that_is_over_time_may_save_itself_for_a_while(tmp_path, needs, left):
    file = tmp_path / "file"
    command = [sys.executable, "-c", SAVING, str(file), str(needs)]
    started = time.monotonic()
    status = supervise(command, 2.0, 2.0, threading.Event())
    assert (status, file.read_text()) == ("timed out", left)
    assert time.monotonic() - started < 10


def test_one_is_asked_to_end_when_the_command_is_to_stop(tmp_path):
    stop = threading.Event()
    threading.Timer(2.0, stop.set).start()
    command = [sys.executable, "-c", SAVING, str(tmp_path / "file"), "0"]
    assert supervise(command, 30.0, 5.0, stop) == "stopped"
    assert (tmp_path / "file").read_text() == "saved"


@pytest.mark.parametrize(("code", "status"), [("", "ok"), ("1/0", "failed")])
def test_one_that_ends_by_itself_has_its_own_status(
    tmp_path, monkeypatch, code, status
):
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, "-c", f"import benchmarks.processes; {code}"]
    assert supervise(command, 30.0, 1.0, threading.Event()) == status
