"""The script for TPU slices, with a gcloud that only tells what it was asked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "run_tpu.sh"
HEAD = subprocess.run(
    ["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True
).stdout.strip()
RUN = [
    "--config=configs/celeba_hq.py:pod16",
    "--workdir=gs://my-bucket/runs/pod 16",
    "--config.data.data_dir=gs://sets",
    "--config.schedule.batch_size=64, 4:512",
]


@pytest.fixture
def gcloud(tmp_path):
    """Puts a gcloud on the path that writes its arguments down."""
    calls = tmp_path / "calls"
    program = tmp_path / "bin" / "gcloud"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nprintf '<%s>' \"$@\" >>{calls}\necho >>{calls}\n")
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "TMPDIR": str(tmp_path)}

    def run(command):
        done = subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True
        )
        called = calls.read_text() if calls.exists() else ""
        calls.unlink(missing_ok=True)
        return done, called

    return run


def test_dry_run_does_nothing_and_prints_what_does_the_same(gcloud):
    done, called = gcloud([SCRIPT, "pod", "us-east1-d", "--", *RUN])
    assert done.returncode == 0, done.stderr
    printed, nothing = gcloud([SCRIPT, "pod", "us-east1-d", "--dry_run", "--", *RUN])
    assert nothing == ""
    pasted, again = gcloud(["bash", "-euc", printed.stdout])
    assert pasted.returncode == 0, pasted.stderr
    assert again == called


def test_every_worker_gets_code_environment_buckets_and_run(gcloud):
    _, called = gcloud([SCRIPT, "pod", "us-east1-d", "--", *RUN])
    assert called.count("<--worker=all>") == called.count("<--zone=us-east1-d>") == 5
    assert called.count("gcsfuse --implicit-dirs") == 2
    assert "rm -rf progan_jax configs constraints && tar" in called
    last = called[called.rindex("<--command=") :]
    assert f"PROGAN_JAX_COMMIT={HEAD}" in last
    assert "progan_jax.main" in last
    assert "--distributed --config=configs/celeba_hq.py:pod16" in last
    assert "--workdir=../gcs/my-bucket/runs/pod\\ 16" in last
    assert "--config.data.data_dir=../gcs/sets" in last


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "NAME and ZONE of the slice are missing"),
        (["pod", "--zone=a"], "NAME and ZONE come before all flags"),
        (["pod", "a", "--config=x"], "'--' must come before the flags of the run"),
        (["pod", "a", "--"], "--config is missing after '--'"),
        (["pod", "a", "--", "--config.seed=1"], "--config is missing after '--'"),
        (["pod", "a", "--", "--config"], "--config is missing after '--'"),
        (
            ["pod", "a", "--", "--config=configs/no.py:x"],
            "there is no configs/no.py here",
        ),
        (
            ["pod", "a", "--", "--config", "/a/no.py"],
            "must lie in configs/, copy it there",
        ),
        (["pod", "a", "--", *RUN, "--dry_run"], "--dry_run comes before '--'"),
    ],
)
def test_a_mistake_is_one_line(gcloud, arguments, words):
    done, called = gcloud([SCRIPT, *arguments])
    assert (done.returncode, called, done.stdout) == (2, "", "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("script", ["run_tpu.sh", "examples/slurm.sh"])
def test_shellcheck_finds_nothing(script):
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([shellcheck, ROOT / script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
