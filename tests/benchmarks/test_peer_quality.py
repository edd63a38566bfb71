"""What another program learns: the sets that are compared, and a few seconds of it."""

import json
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
from progan_jax.runtime.command_line import load_config
from tests.benchmarks.in_pytorch import (
    GAN_ZOO,
    PYTHON,
    STYLE_BASED_GAN,
    needs_style_based_gan,
)
from tests.in_process import tool

ROOT = Path(__file__).parents[2]


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


@pytest.fixture
def all_flags(names, tmp_path, monkeypatch):
    """Sets all flags that are needed, but --peer and --config."""
    given = {"data_dir": "/x", "data": "x", "out": "/x", "peer_path": str(tmp_path)}
    for name, value in given.items():
        monkeypatch.setattr(flags.FLAGS[name], "value", value)


@pytest.mark.parametrize(
    ("peer", "recipe", "reason"),
    [
        (
            "rosinality",
            "cifar10",
            "--peer=rosinality is not trained; choose --peer=gan_zoo",
        ),
        ("gan_zoo", "stylegan_digits", "name style_based_gan"),
        (
            "style_based_gan",
            "cifar10",
            "no steps of config.family = 'progan'; name gan",
        ),
        (
            "gan_zoo",
            "cifar10",
            "config.model.resolution = 8 has no SWD; set 16 or more",
        ),
    ],
)
def test_a_program_that_cannot_be_compared_is_refused(
    names, all_flags, monkeypatch, peer, recipe, reason
):
    config = load_config(recipe)
    config.model.resolution = 8
    monkeypatch.setattr(flags.FLAGS["config"], "value", config)
    monkeypatch.setattr(flags.FLAGS["peer"], "value", peer)
    with pytest.raises(UserError, match=re.escape(reason)):
        names["main"]()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("peer", "checkout", "recipe", "title"),
    [
        pytest.param(
            *("gan_zoo", GAN_ZOO, "folder", "pytorch_GAN_zoo"),
            marks=pytest.mark.skipif(
                not GAN_ZOO, reason="PROGAN_JAX_TEST_GAN_ZOO names no checkout"
            ),
        ),
        pytest.param(
            *("style_based_gan", STYLE_BASED_GAN, "stylegan_folder"),
            "style-based-gan-pytorch",
            marks=needs_style_based_gan,
        ),
    ],
)
def test_a_few_seconds_of_the_other_program_are_measured(
    tmp_path, peer, checkout, recipe, title
):
    reader, settings = SyntheticReader(64, 16), Settings(16)
    folder = tmp_path / "noise"
    shards = write_pyramid(reader, folder, settings, {}, 1, lambda shard: None)
    finish(folder, reader, settings, {}, shards)
    command = [
        *(sys.executable, "-m", "benchmarks.peer_quality", f"--data_dir={tmp_path}"),
        *("--data=noise", f"--config=configs/{recipe}.py:{folder}", "--seconds=3"),
        *("--config.model.fmap_max=4", "--config.model.latent_size=4"),
        *("--config.schedule.batch_size=16", f"--peer={peer}", "--samples=16"),
        *(f"--peer_path={checkout}", f"--peer_python={PYTHON}"),
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
            assert f"| {title}, {name} | " in done.stdout
