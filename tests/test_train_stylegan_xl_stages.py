"""Whole runs of StyleGAN-XL's stages: a new D each, frozen layers, exact resumes."""

import json

import numpy as np
import pytest
from flax import traverse_util

from progan_jax.data import sources
from progan_jax.display.run_record import read_run
from progan_jax.evaluate import evaluate
from progan_jax.inference.load import load
from progan_jax.inference.snapshot import list_snapshots, read_snapshot
from progan_jax.metrics.image_sources import Fakes
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


# By resolution and images shown; lower is better. Training measures every other tick.
VALUES = {
    16: {16: 2.0, 32: 3.0, 48: 5.0, 64: 4.0, 80: 5.0, 96: 3.5},
    32: {112: 1.0, 128: 8.0, 144: 9.0, 160: 8.5, 176: 9.0, 192: 8.1, 224: 9.0},
}


@pytest.fixture
def plateau(config, monkeypatch):
    """Stages that end when two evaluations have not been better than the best."""
    config.model.stages = "16"
    config.schedule.start_resolution = 16
    config.schedule.stabilise_kimg, config.schedule.total_kimg = "0", 0.256
    config.schedule.plateau_evaluations = 2
    config.eval.update(
        metrics="swd", best="swd_average", every_kimg=0.032, num_images=16
    )

    def measure(self, metric, source, num_images, psi=1.0):
        if not isinstance(source, Fakes):
            return {"swd_average": 1.0}
        kimg = float(source.name.partition("_")[0])
        return {
            "swd_average": VALUES[self._reals.resolution].get(round(1000 * kimg), 0)
        }

    monkeypatch.setattr(Measurer, "measure", measure)
    return config


def sides_of(workdir):
    return [row["Progress/resolution"] for row in rows(workdir)]


@pytest.mark.slow
def test_a_plateau_ends_a_stage_and_the_best_snapshot_begins_the_next(
    plateau, tmp_path, monkeypatch, capsys
):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(plateau, whole)
    assert sides_of(whole) == [16] * 6 + [32] * 6
    best, first = list_snapshots(whole)[1], list_snapshots(whole)[6]
    printed = capsys.readouterr().out
    assert f"32x32 begins with {best.name}" in printed
    assert (
        "a plateau at 0.192 kimg ends the run: 2 evaluations without a better"
        in printed
    )
    (old, _), (new, info) = weights_of(best), weights_of(first)
    assert info["stage"]["stem"] == best.name
    kept = kept_layers(model_options(plateau))
    for path in old:
        if path.split("/")[0] == "mapping" or path.split("/")[1] in kept:
            np.testing.assert_array_equal(new[path], old[path], path)
    # Each stage is measured at its own resolution, and the report ends with the run.
    lines = (whole / "metrics.jsonl").read_text().splitlines()
    records = list(map(json.loads, lines))
    measured = [
        r["settings"]["resolution"] for r in records if r["snapshot"] != "reals"
    ]
    assert measured == [16] * 3 + [32] * 3
    assert read_run(whole).is_finished
    assert read_run(whole).schedule.stages()[1].start_nimg == 96
    generator = load(whole)
    assert (
        generator.num_layers == len(design_network(model_options(plateau)).layers) + 1
    )
    assert load(best).num_layers == 6
    # A look between two starts changes nothing, nor what the best snapshot is.
    for _ in range(7):
        with monkeypatch.context() as patch:
            interrupt(patch, 2, crash)
            with pytest.raises(Crash):
                train(plateau, stopped)
        evaluate(plateau, stopped)
    train(plateau, stopped)
    assert_same_run(plateau, whole, stopped)
    # Among all that were measured, of the last stage.
    evaluate(plateau, stopped)
    named = (stopped / "snapshots" / "best").read_text()
    assert list_snapshots(stopped)[6].name in named
    # More patience, and the last stage goes on.
    plateau.schedule.plateau_evaluations = 3
    train(plateau, stopped)
    assert sides_of(stopped) == [16] * 6 + [32] * 8
    assert read_run(stopped).is_finished


@pytest.mark.slow
def test_a_run_that_ended_with_a_stage_may_be_made_longer(config, tmp_path):
    config.model.stages, config.schedule.start_resolution = "16", 16
    config.schedule.plateau_evaluations = 50
    config.eval.update(metrics="swd", best="swd_average", every_kimg=1.0, num_images=16)
    config.schedule.total_kimg = 0.032
    train(config, tmp_path / "run")
    assert sides_of(tmp_path / "run") == [16] * 2
    config.schedule.total_kimg = 0.064
    train(config, tmp_path / "run")
    assert sides_of(tmp_path / "run") == [16] * 2 + [32] * 2
    end, last = (list_snapshots(tmp_path / "run")[n] for n in (1, -1))
    assert read_snapshot(last)[1]["stage"]["stem"] == end.name
