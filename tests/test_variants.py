"""Each program of the paper's tables 1 and 4, and LSGAN with its noise, trains."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from progan_jax.data.sources import load_digits
from progan_jax.models.common import init_params
from progan_jax.models.progan.ablation import Noise
from progan_jax.models.progan.networks import Discriminator, Generator
from progan_jax.models.progan.options import Options
from progan_jax.runtime.mesh import make_mesh
from progan_jax.training.config import make_schedule
from progan_jax.training.stage import StageProgram
from progan_jax.training.validation import validate

# What each row has that the one after it has not; g is the paper's own recipe.
F = {"model.pixel_norm": False}
E = {
    **F,
    "model.equalized": False,
    "schedule.g_learning_rate": "0.0001",
    "schedule.d_learning_rate": "0.0001",
}
D = {**E, "model.minibatch_stddev": False}
B = {
    **D,
    "model.normalize_latents": False,
    "model.activation": "relu",
    "model.g_norm": "batch",
    "model.tanh": True,
    "model.d_norm": "layer",
    "loss.drift_weight": 0.0,
    "optim.d_repeats": 5,
    "optim.beta2": 0.9,
    "optim.ema_decay": 0.999**20,
}
ROWS = {
    # What b's last resolution compiles, too; row c is b with another batch.
    "a": {**B, "schedule.start_resolution": 8},
    "b": B,
    "d": D,
    "e*": {**D, "model.minibatch_discrimination": 10},
    "e": E,
    "f": F,
    "g": {},
    "lsgan": {"loss.kind": "lsgan", "loss.noise_coefficient": 0.2},
}
# The paper's test of modes: each of its variants, the last of which grows.
PROGRESSION = {
    "model.topology": "mode_test",
    "model.d_divisor": 4,
    "model.g_slope": 0.3,
    "model.tanh": True,
    "loss.drift_weight": 0.0,
    "optim.d_repeats": 5,
    "schedule.batch_size": "4",
}
MBSTD = {**PROGRESSION, "schedule.start_resolution": 16}
MODES = {
    "wgan_gp": {**D, **MBSTD, "model.g_norm": "batch", "model.d_norm": "batch"},
    "our_norm": {**MBSTD, "model.minibatch_stddev": False},
    "mbstd": MBSTD,
    "progression": PROGRESSION,
}


@pytest.fixture
def config(tiny_config, monkeypatch):
    # Noise from the first step on, however good the fakes are.
    monkeypatch.setattr("progan_jax.models.progan.ablation._CALM", -0.5)
    tiny_config.model.mbstd_group_size = 0
    tiny_config.schedule.total_kimg = 100.0
    tiny_config.runtime.pairs_per_dispatch = 2
    return tiny_config


def shapes_of(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


def set_fields(config, changes):
    for field, value in changes.items():
        group, name = field.split(".")
        config[group][name] = value
    validate(config, 1)


def train_two_pairs_each(config, changes, resolutions):
    """Trains two pairs at each resolution, growing in between, and checks them."""
    set_fields(config, changes)
    pyramid, mesh = load_digits(config.model.resolution), make_mesh(jax.devices()[:1])
    schedule, state, nimg = make_schedule(config), None, 0
    for r in resolutions:
        stage = StageProgram(config, schedule, r, mesh)
        state = stage.create(pyramid) if state is None else stage.grow(state)
        old = jax.device_get((state.g_params, state.d_params))
        stage.prepare(pyramid)
        state, skipped = stage.run(state, nimg, 2)
        nimg += 2 * schedule.pair_nimg(r)
        assert skipped == 0
        new = jax.device_get((state.g_params, state.d_params))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(new))
        for before, after in zip(old, new, strict=True):
            layer = next(iter(before["block_4x4"]))
            kernels = [p["block_4x4"][layer]["kernel"] for p in (before, after)]
            assert not np.array_equal(*kernels)
    sums = jax.device_get(state.sums)
    assert sums["g_steps"] == 2 * len(resolutions)
    assert sums["d_steps"] == 2 * len(resolutions) * config.optim.d_repeats
    assert all(np.isfinite(total) for total in sums.values())


def slow_unless(names, chosen):
    """Returns the names as parameters, slow but for the chosen ones."""
    return [
        name if name in chosen else pytest.param(name, marks=pytest.mark.slow)
        for name in names
    ]


# Between them, the fast ones have every option of the others; test_train.py trains g.
@pytest.mark.parametrize("row", slow_unless(ROWS, ["a", "e*", "lsgan"]))
def test_every_row_trains_at_4_and_8(config, row):
    config.model.resolution = 8
    train_two_pairs_each(config, ROWS[row], (4, 8) if row != "a" else (8,))


@pytest.mark.parametrize("variant", slow_unless(MODES, ["wgan_gp", "progression"]))
def test_every_variant_of_the_mode_test_trains(config, variant):
    grown = (4, 8, 16) if variant == "progression" else (16,)
    train_two_pairs_each(config, MODES[variant], grown)


@pytest.mark.parametrize(
    ("changes", "resolution"),
    [
        (ROWS["e*"], 8),
        pytest.param(B, 8, marks=pytest.mark.slow),
        pytest.param(ROWS["lsgan"], 8, marks=pytest.mark.slow),
        pytest.param(MODES["wgan_gp"], 16, marks=pytest.mark.slow),
    ],
    ids=["e*", "b", "lsgan", "modes"],
)
def test_layers_of_the_rows_train_in_bfloat16(config, changes, resolution):
    config.model.dtype = "bfloat16"
    config.schedule.start_resolution = resolution
    train_two_pairs_each(config, changes, (resolution,))


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_every_row_trains_up_to_128(config, row):
    config.model.resolution = 128
    config.model.fmap_base = 1024
    config.schedule.batch_size = "4"
    if row == "a":
        changes = ROWS[row] | {"schedule.start_resolution": 128}
        train_two_pairs_each(config, changes, (128,))
    else:
        train_two_pairs_each(config, ROWS[row], (4, 8, 16, 32, 64, 128))


@pytest.mark.slow
@pytest.mark.parametrize("variant", MODES)
def test_every_variant_of_the_mode_test_trains_at_32(config, variant):
    config.model.resolution = 32
    # The paper's own widths, 64 to 8 maps.
    config.model.fmap_base, config.model.fmap_max = 128, 64
    changes = MODES[variant] | {"schedule.start_resolution": 32}
    train_two_pairs_each(config, changes, (32,))


# Row a is traced as b.
RICHEST = [("e*", 1024)]
OTHERS = [(r, side) for r in ROWS for side in (256, 512, 1024) if r != "a"]


@pytest.mark.parametrize(
    ("row", "resolution"),
    [
        *RICHEST,
        *(pytest.param(*o, marks=pytest.mark.slow) for o in OTHERS if o not in RICHEST),
    ],
)
def test_the_pairs_of_every_row_can_be_traced_at_the_largest(config, row, resolution):
    config.model.resolution = resolution
    config.model.channels = 3
    config.model.fmap_base = 2048
    set_fields(config, ROWS[row] | {"schedule.start_resolution": resolution})
    mesh = make_mesh(jax.devices()[:1])
    program = StageProgram(config, make_schedule(config), resolution, mesh)
    traced, skipped = program.lower((60, resolution, resolution, 3)).out_info
    assert skipped.shape == ()
    # A pair gives back a state of the very form that it has taken.
    old, new = map(shapes_of, (program.abstract_state(), traced))
    assert new == old


@pytest.mark.parametrize("resolution", [256, 512, 1024])
@pytest.mark.parametrize("remat", ["none", "blocks"])
def test_shapes_of_the_larger_networks(resolution, remat, key):
    options = Options(
        latent_size=8,
        fmap_base=2048,
        fmap_max=8,
        remat=remat,
        g_norm="batch",
        tanh=True,
        mbstd_group_size=4,
        minibatch_discrimination=5,
    )
    g = Generator(resolution, options)
    for norm in ("layer", "batch"):
        d = Discriminator(resolution, dataclasses.replace(options, d_norm=norm))

        def run(key, d=d):
            g_params, d_params = init_params(key, g, d)
            images = g.apply({"params": g_params}, jnp.zeros((4, 8)), alpha=0.5)
            noise = Noise(jnp.ones([]), jnp.arange(4))
            inputs = images, None, 0.5, noise
            out = d.apply({"params": d_params}, *inputs, rngs={"noise": key})
            return images, out.scores

        images, scores = jax.eval_shape(run, key)
        assert images.shape == (4, resolution, resolution, 3)
        assert scores.shape == (4,)
