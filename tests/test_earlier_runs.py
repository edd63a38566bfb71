"""Runs and snapshots that earlier commits wrote: a run killed in a fade, by classes.

Each tests/golden/run_of_*.zip, of a commit or a version, has the run's folder, what the
commit itself ended it with after 80 more pairs (`end`), and a snapshot without classes
and training networks (`unconditional`).
"""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import progan_jax
from progan_jax.configs import base
from progan_jax.train import train

RUNS = ["dc484f9", "868bb8b", "0.1.0"]
FILES = ["generator", "trained_generator", "discriminator"]


@pytest.fixture(params=RUNS)
def run(request, tmp_path):
    with zipfile.ZipFile(
        Path(__file__).parent / f"golden/run_of_{request.param}.zip"
    ) as f:
        f.extractall(tmp_path)
    return tmp_path


def its_config(run):
    config = base.get_config()
    stored = json.loads((run / "config.json").read_text())["config"]
    config.update(stored)
    config.runtime.num_devices = 1
    config.schedule.total_kimg = 1.35
    return config


def weights(folder):
    return {n: safetensors.numpy.load_file(folder / f"{n}.safetensors") for n in FILES}


def test_a_run_that_was_killed_in_a_fade_ends_as_under_its_own_commit(run):
    expected, [before] = weights(run / "end"), (run / "snapshots").iterdir()
    start = weights(before)
    train(its_config(run), run)
    ours = weights(max((run / "snapshots").iterdir()))
    for name, arrays in expected.items():
        assert ours[name].keys() == arrays.keys()
        for path, array in arrays.items():
            # XLA's code differs among processors, and 80 pairs enlarge that to 0.02.
            np.testing.assert_allclose(ours[name][path], array, atol=0.05, err_msg=path)
    moved = [
        np.abs(array - start["discriminator"][path]).max()
        for path, array in expected["discriminator"].items()
    ]
    assert max(moved) > 0.2


def test_its_snapshots_open_with_and_without_classes_and_training_networks(run):
    for folder, classes in (("snapshots", 10), ("unconditional", 0)):
        [snapshot] = (run / folder).iterdir()
        g = progan_jax.load(snapshot)
        assert (g.num_classes, g.resolution, g.latent_dim) == (classes, 8, 4)
        assert np.isfinite(g.sample(2, seed=1)).all()
        assert (snapshot / "discriminator.safetensors").exists() == bool(classes)
