"""A real process, killed at random moments, ends as if it had never been stopped."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.numpy import load_file

ROOT = Path(__file__).parents[1]
# Saving at every tick of a few pairs: many of the kills fall into a save.
ARGUMENTS = [
    "--config=configs/digits.py",
    "--config.model.resolution=16",
    "--config.model.fmap_base=32",
    "--config.model.fmap_max=8",
    "--config.schedule.batch_size=8",
    "--config.schedule.stabilise_kimg=0.5",
    "--config.schedule.fade_kimg=0.7",
    "--config.schedule.total_kimg=3.2",
    "--config.train.tick_kimg=0.064",
    "--config.train.grid=4x2",
    "--config.train.grid_ticks=1",
    "--config.train.checkpoint_ticks=1",
    "--config.eval.stage_swd_images=0",
    "--config.runtime.num_devices=1",
]


def start(workdir):
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".jax_cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
        "JAX_PLATFORMS": "cpu",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "progan_jax.main", *ARGUMENTS, f"--workdir={workdir}"],
        cwd=ROOT,
        env=os.environ | cache,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(workdir):
    process = start(workdir)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors


def read_rows(workdir):
    path = workdir / "stats.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def result(workdir):
    """Returns what a run leaves, except for times."""
    rows = [
        {
            k: v
            for k, v in row.items()
            if not k.startswith(("Timing/", "Memory/", "checksum"))
        }
        for row in read_rows(workdir)
    ]
    grids = {p.name: p.read_bytes() for p in (workdir / "grids").glob("*.png")}
    # Checksums of every array of the state: parameters, average, moments, key, counts.
    newest = max(
        (p for p in (workdir / "checkpoints").iterdir() if p.name.isdigit()),
        key=lambda p: int(p.name),
    )
    arrays = json.loads((newest / "meta" / "metadata").read_text())["arrays"]
    snapshot = sorted((workdir / "snapshots").iterdir())[-1]
    weights = load_file(snapshot / "generator.safetensors")
    return {
        "rows": rows,
        "grids": grids,
        "state": (newest.name, arrays),
        "snapshot": {name: w.tobytes() for name, w in weights.items()},
    }


def wait_at_most(process, seconds):
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=seconds)


def wait_for_training(process, workdir):
    """Waits until the process has written a row, or has ended."""
    before = len(read_rows(workdir))
    while process.poll() is None and len(read_rows(workdir)) <= before:
        time.sleep(0.02)


def describe(workdir):
    """Describes where a kill has hit."""
    checkpoints = workdir / "checkpoints"
    names = [p.name for p in checkpoints.iterdir()] if checkpoints.exists() else []
    rows = read_rows(workdir)
    return {
        "kimg": rows[-1]["Progress/kimg"] if rows else 0,
        "in a fade": bool(rows) and rows[-1]["Progress/alpha"] < 1,
        "in a save": any("tmp" in name for name in names),
    }


@pytest.mark.slow
def test_kills_at_random_moments_do_not_show_in_the_result(tmp_path):
    finish(tmp_path / "whole")
    rng, kills, workdir = random.Random(0), [], tmp_path / "killed"
    for attempt in range(60):
        process = start(workdir)
        if attempt % 4 == 3:
            # While it starts: imports, reads the checkpoint, compiles.
            wait_at_most(process, rng.uniform(0, 6))
        else:
            wait_for_training(process, workdir)
            wait_at_most(process, rng.uniform(0, 0.8))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills.append(describe(workdir))
        process.communicate(timeout=60)
        if process.returncode == 0:
            break
    finish(workdir)
    print(*kills, sep="\n")
    assert len(kills) >= 5
    assert any(kill["in a fade"] for kill in kills)
    assert any(kill["in a save"] for kill in kills)
    whole, killed = result(tmp_path / "whole"), result(workdir)
    for part in whole:
        assert whole[part] == killed[part], part
