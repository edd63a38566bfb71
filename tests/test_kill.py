"""A real process, killed at random moments, ends as if it had never been stopped."""

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
    "--config.schedule.stabilise_kimg=0.4",
    "--config.schedule.fade_kimg=0.4",
    "--config.schedule.total_kimg=2.4",
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


def result(workdir):
    """What a run leaves that does not tell of time."""
    rows = [
        {
            k: v
            for k, v in json.loads(line).items()
            if "Timing" not in k and "Mem" not in k
        }
        for line in (workdir / "stats.jsonl").read_text().splitlines()
    ]
    grids = {p.name: p.read_bytes() for p in (workdir / "grids").glob("*.png")}
    snapshot = sorted((workdir / "snapshots").iterdir())[-1]
    weights = load_file(snapshot / "generator.safetensors")
    return rows, grids, {name: w.tobytes() for name, w in weights.items()}


def wait_for_training(process, workdir, seconds):
    """Waits so long after the run has begun to write, or until it has ended."""
    stats = workdir / "stats.jsonl"
    size = stats.stat().st_size if stats.exists() else 0
    while process.poll() is None:
        if stats.exists() and stats.stat().st_size != size:
            break
        time.sleep(0.02)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return


@pytest.mark.slow
def test_kills_at_random_moments_do_not_show_in_the_result(tmp_path):
    finish(tmp_path / "whole")
    rng, kills = random.Random(0), 0
    for _ in range(40):
        process = start(tmp_path / "killed")
        wait_for_training(process, tmp_path / "killed", rng.uniform(0, 1.2))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate(timeout=60)
        if process.returncode == 0:
            break
    finish(tmp_path / "killed")
    print(f"{kills} kills")
    assert kills >= 5
    assert result(tmp_path / "whole") == result(tmp_path / "killed")
