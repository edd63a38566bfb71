"""Runs code beside the benchmarks in a Python that has PyTorch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PYTHON = os.environ.get("PROGAN_JAX_TEST_PYTORCH", sys.executable)
GAN_ZOO = os.environ.get("PROGAN_JAX_TEST_GAN_ZOO", "")
STYLE_BASED_GAN = os.environ.get("PROGAN_JAX_TEST_STYLE_BASED_GAN", "")

needs_pytorch = pytest.mark.skipif(
    "PROGAN_JAX_TEST_PYTORCH" not in os.environ,
    reason="PROGAN_JAX_TEST_PYTORCH names no Python with PyTorch",
)
needs_style_based_gan = pytest.mark.skipif(
    not STYLE_BASED_GAN, reason="PROGAN_JAX_TEST_STYLE_BASED_GAN names no checkout"
)


def answer(code, *paths):
    """Returns what the code prints, read as JSON."""
    done = subprocess.run(
        [PYTHON, "-c", code],
        env={"PYTHONPATH": os.pathsep.join([str(BENCHMARKS), *paths])},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
