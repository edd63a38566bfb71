"""Several real processes train as one, lose one another, and continue as one."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from progan_jax.train import train
from progan_jax.training.workdir import exclusive

ROOT = Path(__file__).parents[1]


@pytest.fixture
def config(tiny_config, own_emitters):
    """4x4 and 8x8 in float64; saves at every tick of four pairs."""
    tiny_config.model.resolution = 8
    tiny_config.model.dtype = "float64"
    tiny_config.model.mbstd_group_size = 2
    tiny_config.schedule.stabilise_kimg = tiny_config.schedule.fade_kimg = "0.032"
    tiny_config.schedule.total_kimg = 0.256
    return tiny_config


def flags(config, names):
    """Writes fields of the configuration as the flags of a command."""
    values = dict.fromkeys(names, config)
    for name in names:
        for part in name.split("."):
            values[name] = values[name][part]
    return [f"--config.{name}={value}" for name, value in values.items()]


def start(config, workdir, count, devices=1, extra=(), last=()):
    """Starts a run's processes on this machine, the last with flags of its own."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    fields = flags(
        config,
        [
            "data.name",
            "data.feed",
            "model.resolution",
            "model.channels",
            "model.latent_size",
            "model.fmap_base",
            "model.fmap_max",
            "model.mbstd_group_size",
            "model.dtype",
            "schedule.stabilise_kimg",
            "schedule.fade_kimg",
            "schedule.total_kimg",
            "schedule.batch_size",
            "schedule.rampup_kimg",
            "schedule.quantum_pairs",
            "train.tick_kimg",
            "train.grid",
            "train.grid_ticks",
            "train.snapshot_ticks",
            "train.checkpoint_ticks",
            "runtime.pairs_per_dispatch",
        ],
    )
    given = re.sub(r"(?<=count=)\d+", str(devices), os.environ["XLA_FLAGS"])
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".jax_cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
        "XLA_FLAGS": given.replace("fusion_emitters=false", "fusion_emitters=true"),
    }
    return [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "progan_jax.main", "--config=configs/base.py"),
                *(*fields, f"--workdir={workdir}", f"--coordinator=localhost:{port}"),
                *(f"--num_processes={count}", f"--process_id={number}", *extra),
                *(last if number == count - 1 else ()),
            ],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]


def ended(processes):
    """Returns each process's exit code, output and errors."""
    done = []
    for process in processes:
        output, errors = process.communicate(timeout=300)
        done.append((process.returncode, output, errors))
    return done


def newest(workdir):
    folders = workdir.glob("checkpoints/*")
    return max((int(f.name) for f in folders if f.name.isdigit()), default=0)


def wait_until(reached, processes):
    while not reached() and all(process.poll() is None for process in processes):
        time.sleep(0.02)


def arrays(workdir):
    """Returns every array of the newest checkpoint, read by Orbax alone."""
    with ocp.CheckpointManager(workdir / "checkpoints") as manager:
        args = ocp.args.Composite(state=ocp.args.StandardRestore())
        return manager.restore(newest(workdir), args=args)["state"]


def assert_same_run(one, other):
    assert newest(one) == newest(other)
    mine, theirs = arrays(one), arrays(other)
    assert mine.keys() == theirs.keys()
    for name, array in mine.items():
        np.testing.assert_allclose(array, theirs[name], rtol=1e-9, atol=1e-9)
    assert ticks(one) == ticks(other)


def ticks(workdir):
    rows = (workdir / "stats.jsonl").read_text().splitlines()
    return [json.loads(row)["Progress/nimg"] for row in rows]


def assert_ended_by_the_loss(code, errors):
    """Our line where a collective fails, or that of JAX, which aborts the process."""
    assert code not in (0, None)
    ours = "lost" in errors and "run the same command on all hosts" in errors
    assert ours or "another task died" in errors, errors


def test_two_processes_train_and_the_loss_of_one_ends_the_other(config, tmp_path):
    workdir = tmp_path / "run"
    config.data.feed = "streamed"
    processes = start(config, workdir, 2)
    # Past growth: the first checkpoint of the 8x8 stage.
    wait_until(lambda: newest(workdir) >= 64, processes)
    processes[1].kill()
    began = time.monotonic()
    (code, output, errors), (_, other_output, _) = ended(processes)
    assert time.monotonic() - began < 60
    assert_ended_by_the_loss(code, errors)
    assert "2 x cpu of 2 processes" in output
    assert "tick" not in other_output
    assert 64 <= newest(workdir) < 256


@pytest.mark.slow
def test_a_process_that_hangs_ends_the_others_within_a_minute(config, tmp_path):
    """Stopped, not killed: its connections stay open, only its heartbeat ends."""
    workdir = tmp_path / "run"
    processes = start(config, workdir, 2)
    wait_until(lambda: newest(workdir) >= 32, processes)
    processes[1].send_signal(signal.SIGSTOP)
    began = time.monotonic()
    try:
        ((code, _, errors),) = ended(processes[:1])
    finally:
        processes[1].kill()
        processes[1].communicate()
    assert time.monotonic() - began < 60
    assert_ended_by_the_loss(code, errors)


@pytest.mark.slow
@pytest.mark.parametrize("feed", ["resident", "streamed"])
def test_four_processes_stop_together_lose_the_primary_and_one_continues(
    config, tmp_path, float64, feed
):
    workdir = tmp_path / "run"
    config.data.feed = feed
    processes = start(config, workdir, 4)
    wait_until(lambda: newest(workdir) >= 32, processes)
    processes[2].send_signal(signal.SIGTERM)
    done = ended(processes)
    assert [code for code, _, _ in done] == [0] * 4, done
    assert "a stop on another host at" in done[0][1]
    stopped = newest(workdir)
    assert 32 <= stopped < 256
    processes = start(config, workdir, 4)
    wait_until(lambda: newest(workdir) > max(stopped, 64), processes)
    processes[0].kill()
    for code, _, errors in ended(processes)[1:]:
        assert_ended_by_the_loss(code, errors)
    train(config, workdir)
    train(config, tmp_path / "undisturbed")
    assert_same_run(workdir, tmp_path / "undisturbed")


@pytest.mark.slow
def test_a_run_of_one_process_continues_in_two_of_two_devices(
    config, tmp_path, float64
):
    workdir = tmp_path / "run"
    config.schedule.total_kimg = 0.128
    train(config, workdir)
    config.schedule.total_kimg = 0.256
    for code, _, errors in ended(start(config, workdir, 2, devices=2)):
        assert code == 0, errors
    train(config, tmp_path / "undisturbed")
    assert_same_run(workdir, tmp_path / "undisturbed")


@pytest.mark.slow
def test_a_mistake_of_one_process_ends_all_in_a_line(config, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "holiday.jpg").write_bytes(b"sun")
    for number, (code, _, errors) in enumerate(
        ended(start(config, tmp_path / "run", 2))
    ):
        assert code == 2
        assert "in use and holds no config.json" in errors
        assert errors.count("\n") == 1
        assert ("process 0: " in errors) == (number == 1)
    assert jax.process_count() == 1


@pytest.mark.slow
def test_another_configuration_on_one_process_is_reported_by_all(config, tmp_path):
    done = ended(start(config, tmp_path / "run", 2, last=["--config.seed=7"]))
    for code, _, errors in done:
        assert code == 2
        assert "config.seed = 7 on process 1 and 1000 on process 0" in errors
        assert errors.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_folder_in_use_is_refused_by_all_processes_at_once(config, tmp_path):
    with exclusive(tmp_path / "run"):
        began = time.monotonic()
        done = ended(start(config, tmp_path / "run", 2))
        assert time.monotonic() - began < 60
    for number, (code, _, errors) in enumerate(done):
        assert code == 2
        assert "another process trains in it" in errors
        assert errors.count("\n") == 1
        assert ("process 0: " in errors) == (number == 1)
    assert [p.name for p in (tmp_path / "run").iterdir()] == [".lock"]
