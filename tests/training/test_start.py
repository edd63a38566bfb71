"""Runs that start from given networks."""

import shutil

import jax
import numpy as np
import pytest
from PIL import Image

import progan_jax
from progan_jax.errors import UserError
from progan_jax.images import tile
from progan_jax.inference.snapshot import (
    list_snapshots,
    read_info,
    read_trained,
    write_snapshot,
)
from progan_jax.models.common import (
    init_discriminator,
    init_generator,
    to_variables,
)
from progan_jax.models.families import import_network
from progan_jax.runtime.checkpoint import Checkpoints
from progan_jax.runtime.mesh import make_mesh
from progan_jax.train import train
from progan_jax.training.config import make_networks, make_schedule
from progan_jax.training.stage import StageProgram
from progan_jax.training.start import open_initial, start_from
from tests import hub
from tests.pickles import dumps, golden_networks, style_networks
from tests.untrained import untrained

pytestmark = pytest.mark.usefixtures("shared_programs")

LICENCE = {"name": "cc-by-nc-4.0"}


@pytest.fixture
def config(tiny_config):
    """A run of 16x16 alone: one program."""
    tiny_config.schedule.start_resolution = 16
    tiny_config.schedule.total_kimg = 0.064
    tiny_config.train.snapshot_networks = True
    return tiny_config


def networks(config, side):
    """Returns G's average, G and D, each of a seed of its own."""
    generator, discriminator = make_networks(config, side, per_device_batch=1)
    ema, g = (untrained(init_generator, generator, seed=s) for s in (10, 11))
    return ema, g, untrained(init_discriminator, discriminator)


@pytest.fixture
def write(config, tmp_path):
    def write_given(side=16, carried=True, **model):
        ema, g, d = networks(config, side)
        fields = config.model.to_dict() | model
        info = {
            "stage": {"resolution": side, "alpha": 1.0},
            "options": fields,
            "licence": LICENCE,
        }
        folder = tmp_path / f"given_{carried}"
        write_snapshot(folder, ema, info, {"G": g, "D": d} if carried else None)
        config.init_from = str(folder)
        return folder

    return write_given


def state_of(config, tmp_path):
    """Returns a new run's state, as it is and started from what config names."""
    mesh = make_mesh(jax.devices()[:1])
    side = config.schedule.start_resolution
    own = StageProgram(config, make_schedule(config), side, mesh).create()
    return own, start_from(own, open_initial(config, tmp_path / "run"), mesh)


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_all_three_networks_are_taken_over_where_they_are_carried(
    config, write, tmp_path
):
    write()
    own, state = state_of(config, tmp_path)
    ema, g, d = networks(config, 16)
    assert_same(state.g_ema, ema)
    assert_same(state.g_params, g)
    assert_same(state.d_params, d)
    assert_same((state.g_opt, state.d_opt, state.pairs), (own.g_opt, own.d_opt, 0))


def test_without_them_g_is_the_average_and_d_is_the_runs_own(config, write, tmp_path):
    write(carried=False)
    own, state = state_of(config, tmp_path)
    assert_same((state.g_ema, state.g_params), networks(config, 16)[:1] * 2)
    assert_same(state.d_params, own.d_params)


def test_a_run_that_is_to_grow_takes_the_layers_of_its_first_resolution(
    config, write, tmp_path
):
    write()
    config.schedule.start_resolution = 8
    _, state = state_of(config, tmp_path)
    g, d = networks(config, 16)[1:]
    for taken, whole in ((state.g_params, g), (state.d_params, d)):
        assert len(taken) < len(whole)
        assert_same(taken, {name: whole[name] for name in taken})


class Crash(Exception):
    """Stands for a kill."""


def test_a_run_shows_the_given_images_first_and_never_asks_for_them_again(
    config, write, tmp_path, monkeypatch
):
    given, run = write(), tmp_path / "run"
    key = jax.random.fold_in(jax.random.key(config.seed), 1)  # That of the grids.
    images = progan_jax.load(given)(jax.random.normal(key, (8, 8)))
    with monkeypatch.context() as patch:
        patch.setattr(StageProgram, "run", lambda *_: (_ for _ in ()).throw(Crash))
        with pytest.raises(Crash):
            train(config, run)
    with Image.open(run / "grids" / "fakes_000000.000_r016.png") as grid:
        expected = tile(progan_jax.to_uint8(images), 4)[..., 0]
        np.testing.assert_array_equal(np.asarray(grid), expected)
    shutil.rmtree(given)
    train(config, run)

    snapshot = list_snapshots(run)[-1]
    info = read_info(snapshot)
    assert info["licence"] == LICENCE
    assert info["initial"]["name"] == given.name
    assert_carried(config, run, read_trained(snapshot))
    config.init_from = ""
    with pytest.raises(UserError, match=r"init_from = '', but the run in .* was begun"):
        train(config, run)


def assert_carried(config, run, trained):
    """Compares with the networks of the run's last checkpoint."""
    mesh = make_mesh(jax.devices()[:1])
    program = StageProgram(config, make_schedule(config), 16, mesh)
    with Checkpoints(run / "checkpoints", keep=3) as checkpoints:
        state, meta = checkpoints.restore_newest(lambda _: program.abstract_state())
    assert meta["nimg"] == 64
    assert_same(trained, {"G": state.g_params, "D": state.d_params})


def test_the_authors_three_networks_are_taken_from_their_pickle(config, tmp_path):
    path = tmp_path / "theirs.pkl"
    path.write_bytes(dumps(golden_networks("cond")))
    theirs = import_network(path, "Gs")[1]["options"]
    fields = [name for name in theirs if name in config.model]
    config.model.update({name: theirs[name] for name in fields})
    config.init_from = str(path)
    _, state = state_of(config, tmp_path)
    for kind, params in {
        "Gs": state.g_ema,
        "G": state.g_params,
        "D": state.d_params,
    }.items():
        assert_same(params, import_network(path, kind)[0])
    origin = open_initial(config, tmp_path / "run").origin
    assert origin["licence"]["name"] == "CC BY-NC 4.0"
    assert origin["initial"]["name"] == "theirs.pkl"


def test_stylegans_three_networks_are_taken_with_the_average_of_w_and_noise(
    tiny_stylegan, tmp_path
):
    path = tmp_path / "theirs.pkl"
    path.write_bytes(dumps(style_networks("fused")))
    config, theirs = tiny_stylegan, import_network(path, "Gs")[1]["options"]
    config.model.update(theirs)
    config.init_from = str(path)
    _, state = state_of(config, tmp_path)  # From 8x8 on.
    for kind, variables in {
        "Gs": {"params": state.g_ema, "stats": state.g_ema_stats},
        "G": {"params": state.g_params, "stats": state.g_stats},
        "D": {"params": state.d_params, "stats": state.d_stats},
    }.items():
        assert_same(variables, to_variables(import_network(path, kind, 1.0)[0]))
    config.model.w_size = 20
    with pytest.raises(UserError, match=r"set config.model.w_size to 16 \(now 20\)"):
        open_initial(config, tmp_path / "run")


def test_networks_of_the_hub_are_recognised_by_their_address(
    config, write, tmp_path, monkeypatch
):
    hub.install(monkeypatch, tmp_path / "hub")
    shutil.copytree(write(), tmp_path / "hub/me/net")
    config.init_from = "hf://me/net"
    initial = open_initial(config, tmp_path / "run")
    given = [initial.networks[name] for name in ("Gs", "G", "D")]
    assert_same(given, list(networks(config, 16)))
    assert initial.origin["initial"]["name"] == "hf://me/net"


def test_other_networks_are_refused_in_one_line_that_names_all_fields(
    config, write, tmp_path
):
    write(latent_size=4, fmap_max=2, d_norm="layer", normalize_labels=True)
    with pytest.raises(UserError, match=r"^config.init_from = '.*given") as caught:
        open_initial(config, tmp_path)
    for field in ("latent_size to 4", "fmap_max to 2", "d_norm to 'layer'"):
        assert f"config.model.{field}" in str(caught.value)
    assert "normalize_labels" not in str(caught.value)  # There are no labels.
    assert "\n" not in str(caught.value)
    write(carried=False, d_norm="layer")  # It has no D.
    assert open_initial(config, tmp_path) is not None


def test_what_cannot_be_started_from_leaves_the_folder_as_it_was(
    config, write, tmp_path
):
    small = write(side=8)
    d = tmp_path / "d"
    model = config.model.to_dict()
    info = {"network": "D", "stage": {"resolution": 16, "alpha": 1.0}, "options": model}
    write_snapshot(d, networks(config, 16)[2], info)
    for source, message in [
        (small, "is missing, and a run from 16x16 on needs .*; lower config.schedule"),
        (tmp_path / "none", "config.init_from=.*none: there is no such file or folder"),
        (d, "it is not a snapshot of a generator"),
        ("s3://me/net", "config.init_from=s3://me/net: it must be hf://USER/NAME"),
    ]:
        config.init_from = str(source)
        with pytest.raises(UserError, match=message) as caught:
            train(config, tmp_path / "run")
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
