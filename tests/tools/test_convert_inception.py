"""The tool, as its user types it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from progan_jax.metrics.inception_graph import parameter_shapes
from progan_jax.metrics.inception_weights import load_inception

ROOT = Path(__file__).parents[2]


def convert(cache, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "progan_jax.tools.convert_inception", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PROGAN_JAX_CACHE": str(cache)},
    )


@pytest.fixture
def prefix(tmp_path):
    shapes = parameter_shapes("192")
    np.savez(tmp_path / "a.npz", **{n: np.ones(s, "f2") for n, s in shapes.items()})
    return tmp_path / "a.npz"


def test_a_prefix_is_converted_into_a_file(prefix, tmp_path):
    written = tmp_path / "new" / "a.safetensors"
    done = convert(tmp_path / "cache", str(prefix), f"--out={written}")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{written}: inception-2015-12-05-prefix, up to tap 192\n"
    assert load_inception(written).fingerprint == load_inception(prefix).fingerprint


def test_a_prefix_does_not_take_the_place_of_whole_weights(prefix, tmp_path):
    done = convert(tmp_path / "cache", str(prefix))
    assert done.returncode == 2
    assert done.stderr.startswith("error: --out is missing: ")
    assert not (tmp_path / "cache").exists()


def test_a_mistake_is_one_line_and_writes_nothing(prefix, tmp_path):
    out = tmp_path / "b.pth"
    done = convert(tmp_path / "cache", str(prefix), f"--out={out}")
    assert done.returncode == 2
    assert done.stderr == f"error: --out={out} must end in .safetensors; rename it\n"
    assert not out.exists()
