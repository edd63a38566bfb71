"""Stages that begin on the generator of an earlier one, of this run or another."""

from dataclasses import asdict

import jax
import numpy as np
import pytest
from flax import traverse_util

from progan_jax.errors import UserError
from progan_jax.inference.load import import_snapshot
from progan_jax.inference.snapshot import write_snapshot
from progan_jax.models.common import init_generator, init_variables, to_weights
from progan_jax.models.families import import_network
from progan_jax.models.stylegan_xl.design import design_network
from progan_jax.runtime.mesh import make_mesh
from progan_jax.training.config import make_networks, make_schedule, model_options
from progan_jax.training.stage import StageProgram
from progan_jax.training.start import (
    open_initial,
    open_stem,
    restart_from,
    start_from,
)
from tests.tiny_xl import use_pooled
from tests.torch_pickles import checkpoint, dumps
from tests.untrained import untrained

pytestmark = pytest.mark.usefixtures("shared_programs")


@pytest.fixture
def config(tiny_xl, monkeypatch):
    """A stem of 8x8 and a stage of 16x16, which trains its own layers alone."""
    use_pooled(monkeypatch)
    tiny_xl.model.update(stages="8", head_layers=3, train_input=False)
    tiny_xl.schedule.start_resolution, tiny_xl.schedule.fade_kimg = 8, "0"
    return tiny_xl


def write_stem(config, folder, side=8, **model):
    """Writes a snapshot of a stage's G, and returns its weights."""
    generator, discriminator = make_networks(config, side, 1)
    variables = init_variables(jax.random.key(7), generator, discriminator).g
    variables["params"] = untrained(init_generator, generator, seed=8)
    weights = jax.device_get(to_weights(variables))
    info = {
        "family": config.family,
        "stage": {"resolution": side, "alpha": 1.0},
        "options": asdict(model_options(config)) | model,
    }
    write_snapshot(folder, weights, info)
    return traverse_util.flatten_dict(weights)


def new_state(config, side):
    mesh = make_mesh(jax.devices()[:1])
    return StageProgram(config, make_schedule(config), side, mesh).create(), mesh


def weights_of(state):
    """Returns G's weights in training and on average."""
    both = state.trained.g, state.averaged
    return [traverse_util.flatten_dict(jax.device_get(to_weights(v))) for v in both]


def assert_stands_on(state, own, stem, config):
    """G has the stem's mapping, input and kept layers, and its own last layers."""
    design = design_network(model_options(config).at(16))
    head = {layer.name for layer in design.head}
    for found, mine in zip(weights_of(state), weights_of(own), strict=True):
        for path, array in found.items():
            is_new = len(path) > 1 and set(path) & head
            expected = mine if is_new else stem
            np.testing.assert_array_equal(array, expected[path], str(path))


def test_a_stage_has_other_random_weights_than_the_one_before(config):
    stem, stage = (new_state(config, side)[0] for side in (8, 16))
    old, new = (
        traverse_util.flatten_dict(jax.device_get(state.d_params))
        for state in (stem, stage)
    )
    shared = [path for path in old if path[-1] == "kernel" and path in new]
    assert shared and all((old[path] != new[path]).any() for path in shared)
    # The key of the steps is the run's.
    keys = [jax.random.key_data(state.key) for state in (stem, stage)]
    np.testing.assert_array_equal(*keys)


def test_only_what_is_trained_has_moments_and_an_average(config):
    stage, _ = new_state(config, 16)
    design = design_network(model_options(config).at(16))
    head = {layer.name for layer in design.head}
    assert set(stage.g_params["synthesis"]) == head
    assert "mapping" not in stage.g_params
    trees = stage.g_params, stage.g_ema, stage.g_opt.mu, stage.g_opt.nu
    assert len({str(jax.tree.structure(tree)) for tree in trees}) == 1
    kept = {layer.name for layer in design.layers[: design.num_kept]}
    assert set(stage.g_fixed["synthesis"]) == kept | {"input"}
    config.model.train_input = True
    stage, _ = new_state(config, 16)
    assert set(stage.g_params["synthesis"]) == head | {"input"}


def test_a_stage_restarts_on_a_snapshot_of_its_run(config, tmp_path):
    name = "000000.1_r008"
    stem = write_stem(config, tmp_path / "snapshots" / name)
    own, mesh = new_state(config, 16)
    old = own.replace(pairs=own.pairs + 12, skipped_in_row=own.skipped_in_row + 1)
    state = restart_from(own, old, open_stem(tmp_path, name), mesh)
    assert_stands_on(state, own, stem, config)
    assert (state.pairs, state.skipped_in_row) == (12, 1)
    jax.tree.map(np.testing.assert_array_equal, state.d_params, own.d_params)
    jax.tree.map(np.testing.assert_array_equal, state.g_opt, own.g_opt)
    with pytest.raises(UserError, match="snapshot gone is missing, with whose gener"):
        open_stem(tmp_path, "gone")


def test_a_run_above_the_stem_begins_on_that_of_another_run(config, tmp_path):
    config.schedule.start_resolution = 16
    stem = write_stem(config, tmp_path / "stem", stages="", resolution=8)
    config.init_from = str(tmp_path / "stem")
    own, mesh = new_state(config, 16)
    state = start_from(own, open_initial(config, tmp_path / "run"), mesh)
    assert_stands_on(state, own, stem, config)


WRONG = {
    "width": ({"fmap_max": 4}, 8, "set config.model.fmap_max to 4 (now 8)"),
    "layers": ({"layers": 5}, 8, "set config.model.layers to 5 (now 4)"),
    "resolution": (
        {"stages": "", "resolution": 4},
        4,
        "its networks are of 4x4, and a run from 16x16 on begins with those of 8x8 or "
        "16x16; name such, or change config.model.stages",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_stem_that_does_not_fit_is_refused_in_one_line(config, tmp_path, what):
    model, side, message = WRONG[what]
    config.schedule.start_resolution = 16
    other = config.copy_and_resolve_references()
    other.model.update(model if "resolution" in model else {})
    write_stem(other, tmp_path / "stem", side, **({"resolution": side} | model))
    config.init_from = str(tmp_path / "stem")
    with pytest.raises(UserError) as error:
        open_initial(config, tmp_path / "run")
    (line,) = str(error.value).splitlines()
    assert message in line


def test_a_pickle_of_the_authors_is_a_stem(config, tmp_path):
    """Of a stem of 16x16, for a stage of 32x32."""
    path = tmp_path / "imagenet16.pkl"
    path.write_bytes(dumps(checkpoint("stem")))
    weights, info = import_network(path, "Gs")
    config.model.update(info["options"])
    config.model.update(resolution=32, stages="16", num_classes=5)
    config.schedule.start_resolution = 32
    config.init_from = str(path)
    initial = open_initial(config, tmp_path / "run")
    assert set(initial.networks) == {"G", "Gs"}
    for network in initial.networks.values():
        jax.tree.map(np.testing.assert_array_equal, network, weights)
    assert initial.origin["licence"] == info["licence"]
    # At its own resolution, a run goes on with both of its networks.
    config.model.update(resolution=16, stages="")
    config.schedule.start_resolution = 16
    initial = open_initial(config, tmp_path / "run")
    in_training, _ = import_network(path, "G")
    jax.tree.map(np.testing.assert_array_equal, initial.networks["G"], in_training)
    with pytest.raises(UserError, match="not imported; leave out --with_training_nets"):
        import_snapshot(path, tmp_path / "made", with_trained=True)
    assert not (tmp_path / "made").exists()
