"""Mistakes in the flags; tests/test_hosts.py starts real processes."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from progan_jax.errors import UserError
from progan_jax.runtime.distributed import connected, is_primary, share_json, together

ROOT = Path(__file__).parents[2]


def refusal(*flags, auto=False, timeout_sec=0.2):
    with (
        pytest.raises(UserError) as error,
        connected(*flags, auto=auto, timeout_sec=timeout_sec),
    ):
        raise AssertionError("entered")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("10.0.0.1:8476", None, None), "belong together; give all three"),
        ((None, 2, 0), "belong together; give all three"),
        (("10.0.0.1", 2, 0), "--coordinator=10.0.0.1 must be HOST:PORT"),
        (("host:high", 2, 0), "must be HOST:PORT"),
        (("host:99999", 2, 0), "must be HOST:PORT"),
    ],
)
def test_a_mistake_in_the_flags_is_one_line(flags, words):
    with pytest.raises(UserError, match=words):
        raise UserError(refusal(*flags))


def test_both_ways_at_once_are_a_mistake():
    assert "or --distributed alone" in refusal("host:1", 2, 0, auto=True)


def test_one_process_needs_no_connection():
    with connected(None, None, None, auto=False, timeout_sec=0):
        assert is_primary()
        assert together(lambda: 3) == 3
        assert share_json({"nimg": 4}) == {"nimg": 4}


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def test_a_coordinator_that_does_not_answer_is_named():
    address = f"localhost:{free_port()}"
    message = refusal(address, 2, 1)
    assert message.startswith(f"--coordinator={address}: process 0 does not answer")
    assert "Connection refused" in message


def test_a_taken_port_is_named():
    with socket.create_server(("", 0)) as taken:
        address = f"localhost:{taken.getsockname()[1]}"
        message = refusal(address, 2, 0)
    assert message.startswith(f"--coordinator={address}: process 0 cannot listen")


def test_a_process_that_cannot_connect_ends_in_one_line_and_code_2(tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "progan_jax.main", "--config=configs/digits.py"),
            *("--distributed", "--connect_sec=1", f"--workdir={tmp_path / 'run'}"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: the processes cannot be connected: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()
