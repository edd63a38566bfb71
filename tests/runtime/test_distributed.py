"""Mistakes in the flags, and last words; tests/test_hosts.py starts real processes."""

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
        (("10.0.0.1", 2, 0), "--coordinator=10.0.0.1: it must be HOST:PORT"),
        (("host:high", 2, 0), "it must be HOST:PORT"),
        (("host:99999", 2, 0), "it must be HOST:PORT"),
        (("host:1", 2, 2), r"--process_id=2 must lie in \[0, 2\)"),
        (("host:1", 2, -1), "--process_id=-1 must lie in"),
    ],
)
def test_a_mistake_in_the_flags_is_one_line(flags, words):
    with pytest.raises(UserError, match=words):
        raise UserError(refusal(*flags))


def test_both_ways_at_once_are_a_mistake():
    assert "leave --coordinator" in refusal("host:1", 2, 0, auto=True)


def test_one_process_needs_no_connection():
    with connected(None, None, None, auto=False, timeout_sec=0):
        assert is_primary()
        assert together(lambda: 3) == 3
        assert share_json({"nimg": 4}) == {"nimg": 4}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--coordinator=localhost:9", "--num_processes=2", "--process_id=1"],
            "error: --coordinator=localhost:9: not all 2 processes met there within",
        ),
        (["--distributed"], "error: --distributed: the processes cannot be connected"),
    ],
)
def test_a_process_that_meets_nobody_ends_in_one_line_and_code_2(
    arguments, words, tmp_path
):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "progan_jax.main", "--config=configs/digits.py"),
            *(*arguments, "--connect_sec=1", f"--workdir={tmp_path / 'run'}"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(words)
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("end", "told"), [("os.abort()", True), ("pass", False)])
def test_a_process_that_is_aborted_has_told_why(end, told):
    code = (
        "import os\nfrom progan_jax.runtime.distributed import _last_words\n"
        f"with _last_words():\n    {end}"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode != 0) == told
    assert ("was lost" in done.stderr) == told
