"""Speeds of StyleGAN-XL's generator and of its discriminator."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from benchmarks.results import main
from benchmarks.rounding import errors
from benchmarks.stem_table import stem_table
from benchmarks.timing import seconds_of
from progan_jax.models.stylegan_xl.efficientnet import EfficientNetLite0

ROOT = Path(__file__).parents[2]
TINY_STEM = ("--resolutions=16", "--layers=3", "--widths=4", "--batch=1")
QUICK_STEM = (*TINY_STEM, "--seconds=0.02", "--rounds=1")
PEER = os.environ.get("PROGAN_JAX_TEST_STYLEGAN_XL", "")
PEER_PYTHON = os.environ.get("PROGAN_JAX_TEST_PYTORCH", sys.executable)


def benchmark(name, *arguments):
    return subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


def the_error(done):
    (line,) = [x for x in done.stderr.splitlines() if x.startswith("error: ")]
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return line


def stem_record(**peer):
    times = {"forward_ms": [200.0, 100.0], "gradient_ms": [400.0, 500.0]}
    row = {"resolution": 16, "layers": 7, "width": 64, "parameters": 1234}
    row |= {"ours": times} | ({"peer": peer} if peer else {})
    return {
        "program": "benchmarks.stem",
        "has_peer": bool(peer),
        "torch": "2.0" if peer else None,
        "device": "cpu",
        "cores": 2,
        "load": 0.1,
        "versions": {"jax": "0.1"},
        "batch": 4,
        "seconds": 8.0,
        "rounds": 2,
        "rows": [row],
    }


def test_the_best_round_of_each_is_compared():
    times = {"forward_ms": [160.0, 180.0], "gradient_ms": [300.0, 200.0]}
    lines = list(stem_table(stem_record(parameters=1234, **times)))
    cells = "40.00 | 25.00 | 1.60 | 10.00 | 20.00 | 0.50"
    assert f"| 16 | 7 | 64 | 1,234 | {cells} |" in lines
    assert lines[-1].startswith("Both synthesis networks have the same number of")


def test_networks_of_different_sizes_are_named():
    times = {"forward_ms": [160.0], "gradient_ms": [300.0]}
    lines = list(stem_table(stem_record(parameters=1235, **times)))
    assert lines[-1] == "NOT of one size: 64 maps at 16."


def test_without_a_peer_ours_stands_alone():
    lines = list(stem_table(stem_record()))
    assert lines[-1] == "| 16 | 7 | 64 | 1,234 | 40.00 | 10.00 |"


def test_a_busy_machine_is_named():
    busy = stem_record() | {"load": 2.0}
    assert any("The load was 2.0 at the start" in line for line in stem_table(busy))


@pytest.mark.parametrize("program", ["stem", "projected"])
def test_a_record_is_printed_again(tmp_path, capsys, program):
    rows = [{"side": 64, "project_ms": 10, "d_ms": 40, "g_ms": 20, "compile_sec": 3.0}]
    projected = {
        "program": "benchmarks.projected",
        "weights": {"lite0": "a file"},
        "resolution": 32,
        "rows": rows,
    }
    record = stem_record() | (projected if program == "projected" else {})
    path = tmp_path / "record.json"
    path.write_text(json.dumps(record))
    main(str(path))
    expected = "| 64 | 400.00 | 100.00 | 200.00 | 3.0 |"
    out = capsys.readouterr().out
    assert (expected in out) == (program == "projected")
    assert out.startswith("cpu, 2 cores, JAX 0.1, float32, batch 4")


def test_the_first_call_is_not_timed():
    calls = []

    def call():
        calls.append(0)
        return jnp.zeros(())

    seconds = seconds_of(call, 0.05)
    assert len(calls) > 2
    assert seconds * (len(calls) - 1) >= 0.05


def test_bfloat16_errs_at_every_level_by_little():
    images = jax.random.uniform(jax.random.key(0), (1, 32, 32, 3), minval=-1)
    network, image = EfficientNetLite0(), jnp.zeros((1, 64, 64, 3))
    init = jax.jit(network.init, static_argnames="method")
    params = init(jax.random.key(1), image, method="features")["params"]
    levels = errors(params, images, 64)
    assert [level.shape for level in levels] == [
        "16x16x24",
        "8x8x40",
        "4x4x112",
        "2x2x320",
    ]
    for level in levels:
        assert 1e-3 < level.rms < 0.2
        assert 1e-4 < level.rms_of_inputs < level.rms
        assert level.rms < level.largest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("stem", QUICK_STEM),
        ("projected", ("--sides=64", "--batch=2", "--seconds=0.02")),
    ],
)
def test_the_table_of_a_measurement_is_that_of_its_record(tmp_path, name, flags):
    path = tmp_path / "new" / "record.json"
    done = benchmark(name, *flags, f"--json={path}")
    assert done.returncode == 0, done.stderr
    record = json.loads(path.read_text())
    assert {"date", "git", "device", "cores", "machine", "load"} <= set(record)
    assert len(record["rows"]) == 1
    again = benchmark("results", str(path))
    assert again.stdout.strip() == done.stdout.strip()


@pytest.mark.slow
@pytest.mark.skipif(
    not Path(PEER or "/absent").is_dir(),
    reason="no checkout of stylegan-xl: set PROGAN_JAX_TEST_STYLEGAN_XL, and "
    "PROGAN_JAX_TEST_PYTORCH to a Python that has PyTorch, SciPy and dill",
)
def test_ours_is_of_the_size_of_the_authors():
    peer = (f"--peer_path={PEER}", f"--peer_python={PEER_PYTHON}")
    done = benchmark("stem", *QUICK_STEM, *peer)
    assert done.returncode == 0, done.stderr
    assert "Both synthesis networks have the same number of parameters" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "flag", "reason"),
    [
        ("stem", "--resolutions=5", "--resolutions=5: each must be from 4 to 1024, a"),
        ("stem", "--layers=2", "--layers=2: each must be from 3 to 64; choose"),
        ("stem", "--peer_path=/x", "--peer_path=/x: there is no such folder; name a"),
        ("stem", "--peer_path=/", "--peer_path=/, --peer_python="),
        ("stem", "--peer_python=/x", "--peer_python is without effect alone; name a"),
        ("projected", "--sides=70", "--sides=70: each must be a multiple of 32 from"),
        ("projected", "--backbones=x", "--backbones=x: 'x' must be one of lite0, "),
        ("feature_errors", "--sides=", "--sides=: each must be a multiple of 32 from"),
    ],
)
def test_impossible_flags_are_refused_before_anything_is_measured(name, flag, reason):
    done = benchmark(name, flag)
    assert reason in the_error(done)
    assert not done.stdout
