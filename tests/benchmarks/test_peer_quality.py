"""What another program learns: the sets that are compared, and a few seconds of it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from absl import flags

from progan_jax.errors import UserError
from progan_jax.prepare.readers import SyntheticReader
from progan_jax.prepare.writing import Settings, finish, write_pyramid
from tests.in_process import tool

ROOT = Path(__file__).parents[2]
GAN_ZOO = os.environ.get("PROGAN_JAX_TEST_GAN_ZOO", "")
PYTHON = os.environ.get("PROGAN_JAX_TEST_PYTORCH", sys.executable)


@pytest.fixture
def names():
    with tool("benchmarks.peer_quality") as names:
        yield names


def test_real_images_are_compared_with_others(names, monkeypatch):
    monkeypatch.setattr(flags.FLAGS["samples"], "value", 20)
    images = np.arange(50, dtype=np.uint8).reshape(50, 1, 1, 1)
    one, other = (set(part.ravel()) for part in names["_reals"](images))
    assert len(one) == len(other) == 20
    assert not one & other


def test_noise_is_nearer_to_noise_than_to_one_colour(names, capsys):
    reals, noise = np.random.default_rng(0).integers(
        0, 256, (2, 64, 32, 32, 3), np.uint8
    )
    names["_print_row"]("noise", reals, noise)
    names["_print_row"]("grey", reals, np.full_like(reals, 128))
    rows = [row.strip("| ").split(" | ") for row in capsys.readouterr().out.split("\n")]
    assert [row[0] for row in rows[:2]] == ["noise", "grey"]
    assert re.fullmatch(r"32: [\d.]+, 16: [\d.]+", rows[0][2])
    assert 3 * float(rows[0][1]) < float(rows[1][1])


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, "--config is missing"),
        ({"peer": "gan_zoo"}, "--peer=gan_zoo needs --peer_path, the folder of a"),
        ({"peer_path": "/x"}, "--peer_path=/x: there is no such folder"),
    ],
)
def test_impossible_flags_are_one_line_each(names, monkeypatch, given, reason):
    for name, value in given.items():
        monkeypatch.setattr(flags.FLAGS[name], "value", value)
    with pytest.raises(UserError, match=re.escape(reason)):
        names["main"]()


@pytest.mark.slow
@pytest.mark.skipif(not GAN_ZOO, reason="PROGAN_JAX_TEST_GAN_ZOO names no checkout")
def test_a_few_seconds_of_the_other_program_are_measured(tmp_path):
    reader, settings = SyntheticReader(64, 16), Settings(16)
    folder = tmp_path / "noise"
    shards = write_pyramid(reader, folder, settings, {}, 1, lambda shard: None)
    finish(folder, reader, settings, {}, shards)
    command = [
        *(sys.executable, "-m", "benchmarks.peer_quality", f"--data_dir={tmp_path}"),
        *("--data=noise", f"--config=configs/folder.py:{folder}", "--seconds=3"),
        *("--config.model.fmap_max=4", "--config.model.latent_size=4"),
        *(f"--peer_path={GAN_ZOO}", f"--peer_python={PYTHON}", "--samples=16"),
        f"--out={tmp_path / 'out'}",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[0])
    assert answer["kimg"] > 0 and 1 < answer["cpu_sec"] < 9
    with np.load(tmp_path / "out" / "samples.npz") as samples:
        for name in ("G", "average"):
            assert samples[name].shape == (16, 16, 16, 3)
            assert samples[name].dtype == np.uint8
            assert f"| pytorch_GAN_zoo, {name} | " in done.stdout
