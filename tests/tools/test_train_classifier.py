"""The tool, as its user types it, on the embedded digits."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from progan_jax.data.sources import load_digits
from progan_jax.metrics.classifier import read_classifier

ROOT = Path(__file__).parents[2]


def train_classifier(out, *arguments):
    command = [
        sys.executable,
        "-m",
        "progan_jax.tools.train_classifier",
        "--config=configs/digits.py",
        "--config.model.resolution=8",
        "--test_split=",
        f"--out={out}",
        "--epochs=2",
        "--width=4",
        *arguments,
    ]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
        env=os.environ
        | {
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".jax_cache"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
        },
    )


def test_classifier_its_description_and_its_curve_are_written(tmp_path):
    out = tmp_path / "new" / "digits"
    done = train_classifier(out, "--architecture=digit")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert sorted(p.name for p in out.parent.iterdir()) == [
        "digits.csv",
        "digits.json",
        "digits.safetensors",
    ]
    classifier = read_classifier(out, fingerprint=load_digits(8).fingerprint)
    *epochs, last = done.stdout.splitlines()
    assert [line.split()[:2] for line in epochs] == [["epoch", "1"], ["epoch", "2"]]
    assert last.startswith(f"{classifier}: ")
    with (tmp_path / "new" / "digits.csv").open() as file:
        rows = list(csv.DictReader(file))
    info = json.loads((tmp_path / "new" / "digits.json").read_text())
    assert info["test_accuracy"] == float(rows[-1]["test_accuracy"])
    # Images 9, 19, ..., 1789 of 1,797 are held back.
    assert info["training"]["test_images"] == 179
    assert info["training"]["images"] == 1797 - 179
    assert info["training"]["epochs"] == info["training"]["epochs_begun"] == 2
    again = train_classifier(out)
    assert again.returncode == 2
    assert "there is a classifier already" in again.stderr


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--minutes=0", "error: --minutes=0.0 must be more than 0; raise it"),
        ("--config.model.resolution=128", "error: config.model.resolution = 128 must"),
        ("--test_split=train", "error: --test_split=train is config.data.split"),
        ("--test_split=test", "error: --test_split=test: config.data.split = 'test'"),
    ],
)
def test_mistakes_end_in_one_line_and_code_2(tmp_path, argument, message):
    done = train_classifier(
        tmp_path / "digits", f"--config.data.data_dir={tmp_path}", argument
    )
    assert done.returncode == 2
    assert done.stderr.startswith(message), done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_to_is_refused_before_the_training(tmp_path):
    (tmp_path / "file").write_text("")
    done = train_classifier(tmp_path / "file" / "digits")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: --out={tmp_path / 'file' / 'digits'}: ")
    assert done.stdout == ""
