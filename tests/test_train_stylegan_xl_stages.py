"""Whole runs of StyleGAN-XL's stages: a new D each, frozen layers, exact resumes."""

import json

import numpy as np
import pytest
from flax import traverse_util

from progan_jax.data import sources
from progan_jax.inference.load import load
from progan_jax.inference.snapshot import list_snapshots, read_snapshot
from progan_jax.metrics.measure import Measurer
from progan_jax.models.stylegan_xl.design import design_network
from progan_jax.train import train
from progan_jax.training.config import model_options
from tests.test_train import Crash, assert_same_run, crash, final_state, interrupt, rows
from tests.tiny_xl import coloured_digits, use_pooled, write_lite0

pytestmark = pytest.mark.usefixtures("shared_programs")


@pytest.fixture
def config(tiny_xl, tmp_path, monkeypatch):
    """Stages of 8x8, 16x16 and 32x32, each with 4 pairs of 8 images in two ticks."""
    use_pooled(monkeypatch)
    monkeypatch.setattr(sources, "load", lambda *_: coloured_digits(32))
    weights = write_lite0(tmp_path / "lite0.safetensors")
    tiny_xl.model.update(
        resolution=32,
        stages="8 16",
        head_layers=3,
        backbone_weights=f"lite0={weights}",
    )
    tiny_xl.schedule.start_resolution = 8
    tiny_xl.schedule.stabilise_kimg, tiny_xl.schedule.fade_kimg = "0.032", "0"
    tiny_xl.schedule.total_kimg = 0.096
    tiny_xl.train.tick_kimg = "0.016"
    return tiny_xl


def weights_of(snapshot):
    weights, info = read_snapshot(snapshot)
    return traverse_util.flatten_dict(weights, sep="/"), info


def kept_layers(options):
    design = design_network(options)
    return {layer.name for layer in design.layers[: design.num_kept]}


def ends_of_stages(workdir):
    """Returns the last snapshot of each stage, by its resolution."""
    infos = [(folder, read_snapshot(folder)[1]) for folder in list_snapshots(workdir)]
    return {info["stage"]["resolution"]: folder for folder, info in infos}


@pytest.mark.slow
@pytest.mark.parametrize("train_input", [True, False])
def test_stages_that_are_killed_continue_bit_for_bit(
    config, tmp_path, monkeypatch, train_input
):
    config.model.train_input = train_input
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(config, whole)
    # One tick each time: in each stage, and right after each begins.
    for _ in range(5):
        with monkeypatch.context() as patch:
            interrupt(patch, 2, crash)
            with pytest.raises(Crash):
                train(config, stopped)
    train(config, stopped)
    assert_same_run(config, whole, stopped)
    state, _ = final_state(config, whole)
    assert state.pairs == 12
    sides = [row["Progress/resolution"] for row in rows(whole)]
    assert sides == [8, 8, 16, 16, 32, 32]
    ends = ends_of_stages(whole)
    for before, after in ((8, 16), (16, 32)):
        old, _ = weights_of(ends[before])
        new, info = weights_of(ends[after])
        assert info["stage"]["stem"] == ends[before].name
        kept = kept_layers(model_options(config).at(after))
        moved = {path for path in old if path in new and (old[path] != new[path]).any()}
        trained = {"synthesis/input/kernel", "synthesis/input/affine/kernel"}
        trained |= {"synthesis/input/affine/bias"}
        # The average of w follows the fakes, as in every step of D.
        assert moved == {"stats/w_average"} | (trained if train_input else set())
        assert {path.split("/")[1] for path in old} & kept == kept
        heads = {path.split("/")[1] for path in new} - kept
        assert any(name.startswith("L") for name in heads)


@pytest.fixture
def plateau(config, monkeypatch):
    """A stem that ends when two evaluations have not been better than the best."""
    config.model.update(resolution=32, stages="16")
    config.schedule.start_resolution = 16
    config.schedule.stabilise_kimg, config.schedule.total_kimg = "0", 0.128
    config.schedule.plateau_evaluations = 2
    config.eval.update(
        metrics="swd", best="swd_average", every_kimg=0.016, num_images=16
    )

    def measure(self, metric, source, num_images, psi=1.0):
        side = self._reals.resolution
        value = 1.0 if not hasattr(source, "variables") else next(values[side])
        return {"swd_average": value}

    values = {16: iter([5.0, 3.0, 4.0, 3.5]), 32: iter([9.0, 8.0, 7.0, 6.0])}
    monkeypatch.setattr(Measurer, "measure", measure)
    return config


def test_a_plateau_ends_a_stage_and_the_best_snapshot_begins_the_next(
    plateau, tmp_path, capsys
):
    workdir = tmp_path / "run"
    train(plateau, workdir)
    sides = [row["Progress/resolution"] for row in rows(workdir)]
    assert sides == [16] * 4 + [32] * 4
    best, first = list_snapshots(workdir)[1], list_snapshots(workdir)[4]
    assert f"32x32 begins with {best.name}" in capsys.readouterr().out
    (old, _), (new, info) = weights_of(best), weights_of(first)
    assert info["stage"] == {
        "resolution": 32,
        "alpha": 1.0,
        "nimg": 80,
        "stem": best.name,
    }
    kept = kept_layers(model_options(plateau))
    for path in old:
        if path.split("/")[0] == "mapping" or path.split("/")[1] in kept:
            np.testing.assert_array_equal(new[path], old[path], path)
    # Each stage is measured at its own resolution.
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    records = list(map(json.loads, lines))
    assert [
        r["settings"]["resolution"] for r in records if r["snapshot"] != "reals"
    ] == sides
    # The last stage ends with the run, and a plateau would end it before.
    generator = load(workdir)
    assert (
        generator.num_layers == len(design_network(model_options(plateau)).layers) + 1
    )
    assert load(best).num_layers == 6
