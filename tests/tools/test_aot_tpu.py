"""Compiling for TPUs that are not there; most of it needs libtpu."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from progan_jax.errors import UserError
from progan_jax.runtime import tpu
from progan_jax.runtime.tpu import topology_devices

ROOT = Path(__file__).parents[2]
needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed"
)


def aot_tpu(*arguments):
    command = [sys.executable, "-m", "progan_jax.tools.aot_tpu"]
    return subprocess.run(
        [*command, "--config=configs/cifar10.py", *arguments],
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_libtpu_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(tpu.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs libtpu.*pip install 'jax\[tpu\]"):
        topology_devices("v5e:4x4")


@needs_libtpu
@pytest.mark.parametrize("name", ["banana", "v9:2x2", "v5e:3x3x9"])
def test_a_topology_that_does_not_exist_is_one_clear_line(name):
    done = aot_tpu(f"--topology={name}")
    assert done.returncode == 2
    (line,) = [x for x in done.stderr.split("\n") if "error:" in x]
    assert line.startswith(f"error: --topology={name}: there is no such TPU")
    assert "v5e:4x4" in line
    assert "Traceback" not in done.stderr


@needs_libtpu
def test_too_many_chips_for_the_batch_name_the_largest_number():
    done = aot_tpu("--topology=v5e:4x8")
    assert done.returncode == 2
    assert "over 32 chips, 16 at most" in done.stderr
    assert "--batch_per_chip" in done.stderr


@needs_libtpu
@pytest.mark.slow
def test_small_steps_compile_for_a_v5e_and_reduce_gradients_alone():
    done = aot_tpu(
        "--topology=v5e:2x2", "--resolutions=4,8", "--config.model.dtype=bfloat16"
    )
    assert done.returncode == 0, done.stderr
    heading, _, *rows, _ = done.stdout.strip().split("\n")
    assert "4 x TPU v5 lite; bfloat16" in heading
    assert [row.split()[0] for row in rows] == ["4x4", "8x8"]
    for row in rows:
        assert "of 15.75" in row
        assert "all-reduce" in row
        assert "all-gather" not in row


@needs_libtpu
@pytest.mark.slow
def test_a_step_that_does_not_fit_says_what_it_needs():
    # Twelve million CIFAR-10 images lie on every chip: 34 GiB.
    done = aot_tpu(
        "--topology=v5e:2x2",
        "--resolutions=32",
        "--num_images=12000000",
        "--config.data.feed=resident",
    )
    assert done.returncode == 0, done.stderr
    assert "exceeds: needs" in done.stdout
    assert "of 15.75G" in done.stdout
