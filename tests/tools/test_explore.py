"""The tool's mistakes, as its user types it; Gradio itself is not needed for them."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from progan_jax.inference.sampling import generator_from_snapshot
from progan_jax.inference.snapshot import write_snapshot

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tiny_config, tmp_path):
    """A run's folder with one snapshot of random weights."""
    info = {
        "stage": {"resolution": 8, "alpha": 1.0},
        "options": tiny_config.model.to_dict(),
    }
    generator = generator_from_snapshot(info)
    z = np.zeros((1, tiny_config.model.latent_size), np.float32)
    params = generator.init(jax.random.key(0), z, 1.0)["params"]
    folder = tmp_path / "run"
    write_snapshot(folder / "snapshots" / "000001_r008", jax.device_get(params), info)
    return folder


def explore(folder, gradio, *arguments):
    """Runs the tool where `gradio` is what Python finds by that name."""
    stand_in = folder / "stand_in"
    stand_in.mkdir(exist_ok=True)
    (stand_in / "gradio.py").write_text(gradio)
    return subprocess.run(
        [sys.executable, "-m", "progan_jax.tools.explore", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(stand_in)},
    )


def check(done, message):
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"error: {message}"), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stdout == ""


def test_without_gradio_one_line_says_what_to_install(run, tmp_path):
    done = explore(tmp_path, "raise ImportError('gradio')", run)
    check(done, "the page needs gradio, which is not installed; pip install ")
    assert done.stderr.endswith("'progan_jax[explore]'\n")


def test_mistakes_end_in_one_line_and_code_2(run, tmp_path):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        for arguments, message in [
            ([], "one MODEL is needed, and 0 are given; see --help"),
            ([run, "--port=0"], "--port=0 must lie in [1, 65535]; change it"),
            (
                [run, "--port=x"],
                "flag --port=x: invalid literal for int() with base 10: 'x'",
            ),
            ([run, f"--port={port}"], f"--port={port} must be free: another program"),
            ([run, "--seed=-1"], "--seed=-1 must lie in [0, 2**32); change it"),
            ([run, "--class=1"], "--class=1: this generator has no classes"),
            ([run, "--snapshot=x"], "--snapshot=x: "),
            ([tmp_path / "no"], f"MODEL={tmp_path / 'no'}: there is no such file"),
        ]:
            ports = [] if "--port" in str(arguments) else ["--port=47860"]
            done = explore(tmp_path, "__version__ = '99.0'", *arguments, *ports)
            check(done, message)
