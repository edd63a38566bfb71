"""Commands where JAX finds no device, as their users start them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from progan_jax.runtime.backend import explain_missing_devices

ROOT = Path(__file__).parents[2]
EXPLAIN = ("progan_jax.main", "--config=configs/digits.py", "--mode=explain")
# No machine has a CUDA device then.
HIDDEN = {"JAX_PLATFORMS": "cuda", "CUDA_VISIBLE_DEVICES": ""}


def start(*arguments, **variables):
    return subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | variables,
        timeout=120,
    )


def test_a_device_that_is_not_there_is_one_line_with_those_that_are():
    done = start(*EXPLAIN, JAX_PLATFORMS="cpu,nonsense")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        "error: JAX_PLATFORMS=cpu,nonsense: there is no such device ("
    )
    assert "; there is 8 x cpu; unset the variable" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def test_training_names_the_variables_before_it_writes_anything(tmp_path):
    run = tmp_path / "run"
    done = start(
        *("progan_jax.main", "--config=configs/digits.py", f"--workdir={run}"), **HIDDEN
    )
    assert done.returncode == 2
    assert done.stderr == (
        "error: JAX_PLATFORMS=cuda CUDA_VISIBLE_DEVICES=: there is no such device; "
        "there is 8 x cpu; unset the variable, or install what the device needs, as in "
        "pip install 'jax[cuda13]'\n"
    )
    assert not run.exists()


TWICE = """
import progan_jax
for _ in range(2):
    try:
        progan_jax.load("cifar10").sample(1, 0)
    except progan_jax.UserError as error:
        print(error)
"""


def test_missing_devices_are_reported_each_time_a_session_asks_for_one():
    done = subprocess.run(
        [sys.executable, "-c", TWICE],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | HIDDEN,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == second
    assert first.startswith(
        "JAX_PLATFORMS=cuda CUDA_VISIBLE_DEVICES=: there is no such device; there is "
        "8 x cpu; unset the variable"
    )


@pytest.mark.parametrize("error", [AssertionError(), RuntimeError("of another kind")])
def test_other_errors_are_not_explained_so(error):
    assert explain_missing_devices(error) is None
