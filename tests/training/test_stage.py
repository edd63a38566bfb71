"""What holds for any number of devices and any number of pairs per dispatch."""

import re

import jax
import numpy as np
import optax
import pytest

from progan_jax.data.sources import load_digits
from progan_jax.runtime.compiler import collectives, host_transfers
from progan_jax.runtime.mesh import make_mesh
from progan_jax.training.config import make_schedule
from progan_jax.training.stage import StageProgram, warn_of_small_groups

pytestmark = pytest.mark.usefixtures("shared_programs")

COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "all-to-all",
    "collective-permute",
    "collective-broadcast",
    "reduce-scatter",
)


@pytest.fixture(scope="module")
def pyramid():
    return load_digits(16)


@pytest.fixture
def config(tiny_config):
    # 32 images over 8 devices are groups of 4.
    tiny_config.schedule.batch_size = "32"
    tiny_config.schedule.total_kimg = 100.0
    return tiny_config


def program(config, devices, resolution):
    mesh = make_mesh(jax.devices()[:devices])
    return StageProgram(config, make_schedule(config), resolution, mesh)


def host(state):
    return jax.device_get(state.replace(key=jax.random.key_data(state.key)))


NOISY = {"loss.kind": "lsgan", "loss.noise_coefficient": 0.1}
AUGMENTED = {"data.augment": "color,translation,cutout"}
RELATIVISTIC = {
    "loss.kind": "relativistic",
    "loss.r1_weight": 0.5,
    "loss.r2_weight": 0.5,
}


def change(config, changes):
    for field, value in changes.items():
        group, name = field.split(".")
        config[group][name] = value


def descent(*_):
    return optax.identity()


def one_steps_gradients(config, devices, pyramid, monkeypatch):
    """Runs one pair of plain descent at rate 1: what moved is the gradient."""
    monkeypatch.setattr("progan_jax.training.stage.scale_by_authors_adam", descent)
    config.schedule.g_learning_rate = config.schedule.d_learning_rate = "1"
    stage = program(config, devices, 8)
    before = stage.create()
    stage.prepare(pyramid)
    start = host(before)
    after, _ = stage.run(before, 0, 1)
    end = host(after)
    return [
        jax.tree.map(np.subtract, getattr(start, name), getattr(end, name))
        for name in ("g_params", "d_params")
    ]


def assert_same_gradients(one, other):
    # G's step comes after D's, with parameters that differ by rounding.
    for network, of_other in zip(one, other, strict=True):
        whole = optax.tree.norm(network)
        difference = optax.tree.norm(jax.tree.map(np.subtract, network, of_other))
        assert whole > 1e-3
        assert difference <= 1e-5 * whole


@pytest.mark.parametrize("changes", [{}, RELATIVISTIC])
def test_gradients_of_eight_devices_are_those_of_one(
    config, pyramid, monkeypatch, changes
):
    change(config, changes)
    one, eight = (one_steps_gradients(config, n, pyramid, monkeypatch) for n in (1, 8))
    assert_same_gradients(one, eight)


def strengthen_noise(monkeypatch):
    """Lets noise begin with the first step, and not with good fakes."""
    monkeypatch.setattr("progan_jax.models.progan.ablation._CALM", -0.5)


@pytest.mark.parametrize(
    ("devices", "microbatch", "simultaneous", "changes"),
    [
        (1, "8", False, {}),
        pytest.param(2, "4", True, {}, marks=pytest.mark.slow),
        pytest.param(2, "4", False, NOISY, marks=pytest.mark.slow),
        (2, "4", False, RELATIVISTIC | AUGMENTED),
    ],
)
def test_gradients_of_parts_of_the_batch_are_those_of_the_undivided_batch(
    config, pyramid, monkeypatch, devices, microbatch, simultaneous, changes
):
    if "loss.noise_coefficient" in changes:
        strengthen_noise(monkeypatch)
    change(config, changes)
    config.optim.simultaneous = simultaneous
    whole = one_steps_gradients(config, devices, pyramid, monkeypatch)
    config.schedule.microbatch = microbatch
    parts = one_steps_gradients(config, devices, pyramid, monkeypatch)
    assert_same_gradients(whole, parts)


def test_changes_of_what_d_sees_change_the_gradients_of_both(
    config, pyramid, monkeypatch
):
    plain = one_steps_gradients(config, 1, pyramid, monkeypatch)
    change(config, AUGMENTED)
    augmented = one_steps_gradients(config, 1, pyramid, monkeypatch)
    for one, other in zip(plain, augmented, strict=True):
        difference = optax.tree.norm(jax.tree.map(np.subtract, one, other))
        assert 0.01 < difference / optax.tree.norm(one) < np.inf


def test_gradients_of_both_feeds_are_the_same(config, pyramid, monkeypatch):
    # The same images, but two programs, which may round in two ways.
    gradients = []
    for feed in ("resident", "streamed"):
        config.data.feed = feed
        gradients.append(one_steps_gradients(config, 1, pyramid, monkeypatch))
    assert_same_gradients(*gradients)


def train_over_growth(config, devices, pyramid):
    """Ten pairs at 4x4 and, after growth, ten at 8x8."""
    stage = program(config, devices, 4)
    state = stage.create(pyramid)
    stage.prepare(pyramid)
    for first, pairs in ((0, 4), (4, 4), (8, 2)):
        state, _ = stage.run(state, 32 * first, pairs)
    stage = program(config, devices, 8)
    state = stage.grow(state)
    stage.prepare(pyramid)
    for first, pairs in ((10, 4), (14, 4), (18, 2)):
        state, _ = stage.run(state, 32 * first, pairs)
    return host(state)


def assert_same_training(one, other):
    assert one.pairs == other.pairs == 20
    assert one.sums["d_skipped"] == 0
    for name in ("g_params", "d_params", "g_ema", "g_opt", "d_opt", "loss_state"):
        for a, b in zip(
            jax.tree.leaves(getattr(one, name)),
            jax.tree.leaves(getattr(other, name)),
            strict=True,
        ):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("simultaneous", "group", "changes"),
    [
        pytest.param(False, 4, {}, marks=pytest.mark.slow),
        pytest.param(True, 0, {}, marks=pytest.mark.slow),
        pytest.param(False, 4, AUGMENTED, marks=pytest.mark.slow),
        pytest.param(False, 4, RELATIVISTIC, marks=pytest.mark.slow),
        pytest.param(
            False,
            4,
            {"model.g_norm": "batch", "model.d_norm": "batch"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            False,
            4,
            {**NOISY, "model.minibatch_discrimination": 4},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_twenty_pairs_with_growth_are_the_same_on_eight_devices(
    config, pyramid, float64, own_emitters, monkeypatch, simultaneous, group, changes
):
    strengthen_noise(monkeypatch)
    change(config, changes)
    config.model.dtype = "float64"
    config.model.mbstd_group_size = group
    config.optim.simultaneous = simultaneous
    # The run's 4x4 stage lasts 320 images, its 8x8 stage fades for as long.
    config.schedule.stabilise_kimg = config.schedule.fade_kimg = "0.32"
    assert_same_training(*(train_over_growth(config, n, pyramid) for n in (1, 8)))


@pytest.mark.parametrize(
    ("feed", "simultaneous", "group", "changes"),
    [
        ("resident", False, 4, {}),
        ("streamed", True, 4, {}),
        pytest.param("resident", False, 0, {}, marks=pytest.mark.slow),
        pytest.param(
            "resident",
            False,
            4,
            {**NOISY, "model.g_norm": "batch"},
            marks=pytest.mark.slow,
        ),
        ("resident", False, 4, {"model.minibatch_discrimination": 4}),
        pytest.param("resident", False, 4, AUGMENTED, marks=pytest.mark.slow),
    ],
)
def test_compiled_steps_have_no_collective_but_all_reduce(
    config, pyramid, feed, simultaneous, group, changes
):
    change(config, changes)
    config.data.feed = feed
    config.optim.simultaneous = simultaneous
    config.model.mbstd_group_size = group
    stage = program(config, 8, 8)
    stage.prepare(pyramid)
    text = stage.compiled.as_text()
    found = {
        name: len(re.findall(rf" {name}(?:-start)?\(", text)) for name in COLLECTIVES
    }
    assert found.pop("all-reduce") > 0
    # Minibatch discrimination compares each image with those of all devices.
    gathers = ["all-gather"] * ("model.minibatch_discrimination" in changes)
    assert [name for name, count in found.items() if count] == gathers


@pytest.mark.parametrize(("devices", "batch"), [(6, "24"), (4, "12")])
def test_a_group_of_the_statistic_need_not_divide_the_number_of_devices(
    config, devices, batch
):
    config.schedule.batch_size = batch
    state = program(config, devices, 8).abstract_state()
    assert {"d_loss", "g_loss", "d_steps", "g_skipped"} <= set(state.sums)


@pytest.mark.parametrize("feed", ["resident", "streamed"])
def test_steps_lowered_from_shapes_are_those_lowered_from_data(config, pyramid, feed):
    config.data.feed = feed
    stage = program(config, 8, 8)
    stage.prepare(pyramid)
    state, batches = stage.create(), stage._feed.batches(32, 2)
    real = stage._run.lower(state, batches, stage._controls(32, 2), None)
    abstract = stage.lower(pyramid.levels[8].shape)
    assert abstract.as_text() == real.as_text()


def test_compiled_steps_never_talk_to_the_host(config, pyramid):
    stage = program(config, 8, 8)
    stage.prepare(pyramid)
    text = stage.compiled.as_text()
    assert not host_transfers(text)
    # The gradients of both networks, and scalars.
    _, size = collectives(text)["all-reduce"]
    params = [stage.abstract_state().g_params, stage.abstract_state().d_params]
    assert size >= 4 * sum(leaf.size for leaf in jax.tree.leaves(params))


def reduced_shapes(hlo):
    """Returns the shapes of all operands of all all-reduces, without sides of one."""
    results = re.findall(r" = (.*?) all-reduce(?:-start)?\(", hlo)
    shapes = re.findall(r"\w+\[([\d,]*)\]", " ".join(results))
    return {tuple(int(n) for n in s.split(",") if n not in ("", "1")) for s in shapes}


def gradient_shapes(state):
    """Returns the shapes that gradients have while they are reduced.

    A 3x3 kernel's [3, 3, C, F] is then the matrix product of thirds [3C, 3F]. A fused
    layer's kernel was merged to [4, 4, C, F], taken whole, as [C, 16F] or by its taps.
    The part of a kernel that the minibatch statistic takes is apart, [3, 3, F].
    """
    shapes = {()}
    for leaf in jax.tree.leaves([state.g_params, state.d_params]):
        shapes.add(tuple(n for n in leaf.shape if n > 1))
        if leaf.shape[:2] == (3, 3):
            c, f = leaf.shape[2:]
            shapes |= {(3 * c, 3 * f), (4, 4, c, f), (16, c, f), (c, 16 * f), (c, f)}
            shapes |= {(3, 3, f), (f, 3, 3)}
    return shapes


@pytest.mark.parametrize(
    ("fused", "group", "more"),
    [
        (False, 4, set()),
        pytest.param(True, 4, set(), marks=pytest.mark.slow),
        pytest.param(False, 0, {(4, 4, 8), (2, 4, 4, 8), (2,)}, marks=pytest.mark.slow),
    ],
)
def test_devices_exchange_only_gradients_scalars_and_what_the_statistic_spans(
    config, pyramid, fused, group, more
):
    # Groups lie on one device; the whole batch's moments, [4, 4, C], are of all, those
    # of real images and fakes at once.
    config.model.fused_resampling = fused
    config.model.mbstd_group_size = group
    stage = program(config, 8, 8)
    text = stage._compile(pyramid.levels[8].shape).as_text()
    assert reduced_shapes(text) - gradient_shapes(stage.abstract_state()) == more


def test_parts_of_a_batch_are_summed_by_all_reduce_alone_and_without_the_host(
    config, pyramid
):
    # 8 images on each of 8 devices, in two parts of one group each.
    config.schedule.batch_size, config.schedule.microbatch = "64", "4"
    stage = program(config, 8, 8)
    assert stage.steps.options.microbatches == 2
    text = stage.lower(pyramid.levels[8].shape).compile().as_text()
    assert collectives(text).keys() == {"all-reduce"}
    assert not host_transfers(text)
    # XLA's memory space of the host, to which a copy would go.
    assert "S(5)" not in text


def test_compiled_steps_refuse_another_shape(config, pyramid):
    """So that a stage can never be compiled twice unnoticed."""
    small = program(config, 1, 4)
    small.prepare(pyramid)
    with pytest.raises(TypeError, match="compiled"):
        small.run(program(config, 1, 8).create(), 0, 1)


def test_groups_that_devices_make_smaller_are_reported(tiny_config, capsys):
    tiny_config.schedule.start_resolution = 16
    warn_of_small_groups(tiny_config, 8)
    assert (
        "warning: on 8 devices the groups of the minibatch statistic are smaller than "
        "config.model.mbstd_group_size = 4: 1 at 16x16"
    ) in capsys.readouterr().err
