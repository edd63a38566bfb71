"""What signals and a second process do to a preparation at work."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def start(out):
    # Tests that are started in the background may ignore Ctrl-C.
    command = ["env", "--default-signal=INT,HUP", sys.executable]
    command += ["-m", "progan_jax.tools.prepare_data", "synthetic:5000"]
    return subprocess.Popen(
        [*command, f"--out={out}", "--resolution=256", "--workers=2"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )


def wait_for(claim, seconds=60):
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end
        time.sleep(0.05)


def children(pid):
    """Returns the processes that a process began, on Linux."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


def is_alive(pid):
    path = Path(f"/proc/{pid}/stat")
    try:
        return path.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_workers_end_with_their_parent(tmp_path, number):
    process = start(tmp_path)
    wait_for(lambda: any(tmp_path.rglob("*array_record*")))
    workers = children(process.pid)
    assert len(workers) >= 2
    if number == signal.SIGTERM:
        second = start(tmp_path)
        assert "another process prepares" in second.communicate(timeout=60)[1]
        assert second.returncode == 2
    os.kill(process.pid, number)
    _, stderr = process.communicate(timeout=60)
    wait_for(lambda: not any(map(is_alive, workers)), 10)
    if number != signal.SIGKILL:
        name = signal.Signals(number).name
        assert stderr == f"stopped by {name}; the same command continues\n"
        assert process.returncode == 128 + number
