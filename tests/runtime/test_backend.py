"""Commands where JAX finds no device, as their users start them."""

import importlib.util
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


def check(done, beginning):
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"error: {beginning}: there is no such device")
    assert "; there is 8 x cpu; unset the variable" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize("platforms", ["tpu", "nonsense", "cpu,nonsense"])
def test_a_device_that_is_not_there_is_one_line_with_those_that_are(platforms):
    if platforms == "tpu" and importlib.util.find_spec("libtpu"):
        pytest.skip("libtpu is installed")
    done = start(*EXPLAIN, JAX_PLATFORMS=platforms)
    check(done, f"JAX_PLATFORMS={platforms}")
    assert done.stdout == ""


def test_commands_say_which_variables_hide_the_devices_before_they_write_anything(
    tmp_path,
):
    for command in (
        ("progan_jax.tools.sample", "cifar10", f"--out={tmp_path / 'a'}"),
        ("progan_jax.tools.export", "cifar10", tmp_path / "a"),
        (
            "progan_jax.main",
            "--config=configs/digits.py",
            f"--workdir={tmp_path / 'a'}",
        ),
    ):
        check(start(*command, **HIDDEN), "JAX_PLATFORMS=cuda CUDA_VISIBLE_DEVICES=")
        assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("platforms", ["gpu", "metal", "nonsense", "cpu,nonsense"])
def test_what_jax_does_not_know_is_said_in_our_words(platforms):
    done = start(*EXPLAIN, JAX_PLATFORMS=platforms)
    if done.returncode == 0:
        pytest.skip("it is there")
    assert done.stderr == (
        f"error: JAX_PLATFORMS={platforms}: there is no such device (the installed "
        "JAX has no support for it); there is 8 x cpu; unset the variable, or install "
        "what the device needs, as in pip install 'progan_jax[cuda]'\n"
    )


TWICE = """
import progan_jax
for _ in range(2):
    try:
        progan_jax.load("cifar10").sample(1, 0)
    except progan_jax.UserError as error:
        print(error)
"""


def test_a_session_is_told_of_missing_devices_each_time_it_asks_for_one():
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
