"""The benchmarks as their user types them, on networks of a few maps."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.case_table import case_table
from benchmarks.results import table

# Each is a process of its own: about a minute in all.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
NARROW = (
    "--config=configs/cifar10.py",
    "--config.model.fmap_max=4",
    "--config.model.latent_size=4",
)


def benchmark(name, *arguments):
    return subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *NARROW, *arguments],
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


def test_the_table_of_a_run_is_printed_again_from_its_record(tmp_path):
    path = tmp_path / "new" / "record.json"
    quick = ("--seconds=0.05", "--rounds=1", "--batch=4", f"--json={path}")
    done = benchmark("train_step", "--config.model.resolution=4", *quick)
    assert done.returncode == 0, done.stderr
    record = json.loads(path.read_text())
    assert "\n".join(table(record)) == done.stdout.strip()
    assert [(r["resolution"], r["images"]) for r in record["rows"]] == [(4, 4)]
    assert {"jax", "jaxlib"} <= set(record["versions"])
    assert {"date", "git", "device", "cores", "machine"} <= set(record)
    assert "hours" in done.stdout


def test_a_missing_peer_is_reported_in_one_line_before_any_measurement(tmp_path):
    quick = ("--seconds=0.05", "--rounds=1", "--resolutions=4")
    peer = ("--peer=gan_zoo", f"--peer_path={tmp_path}")
    done = benchmark("train_step", *quick, *peer)
    assert "ModuleNotFoundError: No module named" in the_error(done)
    assert f"--peer_path={tmp_path}, --peer_python=" in the_error(done)
    assert not done.stdout


@pytest.mark.parametrize(
    ("flag", "reason"),
    [
        (
            "--peer=gan_zoo",
            "--peer=gan_zoo needs --peer_path, the folder of a checkout",
        ),
        ("--resolutions=4,5", "--resolutions=5: the run has 4, 8, 16, 32; choose"),
        ("--share=3", "--share=3 does not divide the batch of 16 at 4x4; choose"),
        ("--peer_path=/x", "--peer_path=/x: there is no such folder; name a checkout"),
        ("--peer_python=/x", "--peer_python is without effect alone; name a checkout"),
        ("--json=/proc/x.json", "--json=/proc/x.json: "),
    ],
)
def test_impossible_flags_are_refused_before_anything_is_measured(flag, reason):
    done = benchmark("train_step", flag)
    assert reason in the_error(done)
    assert not done.stdout


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--config.loss.kind=x"], "config.loss.kind = 'x' must be one of wgan_gp"),
        (["--config.model.dtype=float16"], "config.model.dtype = 'float16' must be"),
        (["--batch=6", "--config.model.mbstd_group_size=4"], "which rules out 6 (at"),
    ],
)
def test_costs_of_a_configuration_that_no_run_would_take_are_refused(flags, reason):
    done = benchmark("costs", *flags)
    assert reason in the_error(done)
    assert not done.stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["bananas"], "dtype 'bananas' must be one of float32, bfloat16, float64"),
        ([], "one dtype is needed, and 0 are given"),
    ],
)
def test_peaks_of_unknown_dtypes_are_refused(arguments, reason):
    command = [sys.executable, "-m", "benchmarks.roofline", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert reason in the_error(done)


def test_seeds_in_one_program_are_counted_together():
    quick = ("--resolutions=4", "--batch=4", "--seconds=0.05", "--seeds=1,2")
    done = benchmark("seeds", *quick)
    assert done.returncode == 0, done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()[2:]]
    assert [row[:2] for row in rows] == [["4", "1"], ["4", "2"]]
    one, two = (float(row[3].replace(",", "")) for row in rows)
    assert float(rows[1][4]) == pytest.approx(two / one, abs=0.02)


def test_zero_seeds_are_refused():
    done = benchmark("seeds", "--resolutions=4", "--seeds=1,0")
    assert "--seeds=1,0: each must be at least 1; write 1,2,5" in the_error(done)


def test_growing_and_not_growing_are_trained_on_as_many_images(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    done = benchmark(
        "schedule",
        "--config.model.resolution=8",
        "--config.schedule.batch_size=8",
        "--config.train.grid=2x2",
        "--kimg_per_stage=0.08",
    )
    assert done.returncode == 0, done.stderr
    lines = [x.strip("| ").split(" | ") for x in done.stdout.splitlines() if "|" in x]
    growing, still = lines[2:6], lines[8:]
    assert [r[0] for r in growing] == ["4x4", "8x8", "start and end", "all"]
    assert [r[0] for r in still] == ["8x8", "start and end", "all"]
    assert growing[-1][1] == still[-1][1]
    for row in growing + still:
        *parts, total = map(float, row[2:])
        assert sum(parts) == pytest.approx(total, abs=0.21)
    assert "Not growing takes" in done.stdout
    assert not any(tmp_path.iterdir()), "it took or left compiled programs"


def test_the_costs_of_every_stage_are_counted_without_compiling():
    done = benchmark("costs", "--config.model.resolution=8", "--resolutions=4,8,4")
    assert done.returncode == 0, done.stderr
    lines = [x.strip("| ").split(" | ") for x in done.stdout.splitlines() if "|" in x]
    assert [row[0] for row in lines[2:4]] == ["4", "8"]
    assert {row[5] for row in lines[2:4]} == {"-"}
    for row in lines[-2:]:
        assert sum(map(float, filter(None, row[2:]))) == pytest.approx(100, abs=0.3)


def test_ten_minutes_of_an_accelerator_are_one_small_case_on_a_cpu(tmp_path):
    path = tmp_path / "new" / "record.json"
    command = [sys.executable, "-m", "benchmarks.accelerator", "--minutes=4"]
    command += ["--seconds=0.5", f"--json={path}", f"--cache={tmp_path}/cache"]
    for number in range(2):
        started = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert time.monotonic() - started < 240
        assert done.returncode == 0, done.stderr
        assert "No accelerator: JAX has only the CPU; one small case" in done.stdout
        record = json.loads(path.read_text())
        assert "\n".join(case_table(record)) in done.stdout
        device, steps = record["cases"]
        assert (device["status"], steps["status"]) == ("ok", "ok")
        assert {"git", "versions", "date", "driver", "device"} <= set(record)
        assert {"ms", "compile_sec", "peak_bytes", "floors", "compiled"} <= set(steps)
        assert steps["from_cache"] > 0 if number else not steps["from_cache"]
        layers = {row[0] for row in steps["profile"]["layers"]}
        assert {"Generator/block_4x4", "Discriminator/block_4x4"} <= layers
        assert 0 < steps["profile"]["busy_ms"] <= steps["profile"]["wall_ms"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_case_and_leaves_a_complete_record(tmp_path, number):
    path = tmp_path / "record.json"
    command = [sys.executable, "-m", "benchmarks.accelerator", f"--json={path}"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while not process.stdout.readline().startswith("No accelerator"):
        assert process.poll() is None
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not children.read_text():  # Then the small case runs.
        assert process.poll() is None
    process.send_signal(number)
    rest = process.communicate(timeout=10)[0]
    assert process.returncode == 128 + number
    record = json.loads(path.read_text())
    assert record["stopped"] == number.name
    assert [row["status"] for row in record["cases"]] == ["ok", "stopped"]
    assert "measured peaks" in rest
    assert "- steps cifar 4 float32: stopped" in rest


def test_the_kernels_of_a_pair_are_counted_for_gpus_without_one():
    config = ("--config.model.resolution=8", "--resolutions=4,8")
    for flags in (["--platform=cuda"], ["--compile_to=8"]):
        done = benchmark("kernels", *config, *flags)
        assert done.returncode == 0, done.stderr
        lines = [x.strip("| ").split(" | ") for x in done.stdout.splitlines()]
        rows = [row for row in lines if row[0] in ("4", "8")]
        assert int(rows[0][2]) < int(rows[1][2])
        assert (rows[0][4] == "-") == (flags == ["--platform=cuda"])
    done = benchmark("kernels", *config, "--platform=cuda", "--compile_to=8")
    assert "--platform=cuda: nothing is compiled for it here" in the_error(done)
