"""StyleGAN-XL's steps: what moves in which step, and from part to part of a batch."""

import functools
import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from progan_jax.models import stylegan_xl as family
from progan_jax.models.augmentation import POLICIES
from progan_jax.models.common import Examples, LossInputs, Networks, Progress
from progan_jax.runtime.checkpoint import Checkpoints
from progan_jax.runtime.mesh import make_mesh, replicated
from progan_jax.training.config import Controls, StepOptions
from progan_jax.training.optimizer import Optimizers, scale_by_authors_adam
from progan_jax.training.state import create_state
from progan_jax.training.steps import Steps
from tests.tiny_xl import (
    CLASSES,
    MODEL,
    SIDE,
    coloured_digits,
    pooled,
    reals,
    use_pooled,
)

N, DECAY, RATE = 4, 0.998, 1e-3
LOSS = family.LossOptions(path_every=2, path_start_kimg=0.0)
LOG_PROBS = (0.0,) * CLASSES


@pytest.fixture(scope="module", autouse=True)
def small_backbone():
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_pooled(monkeypatch)
        yield


def networks(group):
    return family.make_networks(replace(MODEL, stats_batch=group), SIDE)


@functools.cache
def make(parts=1, group=2, augment=()):
    """Returns jitted steps of D, of G and of its penalty, of plain descent."""
    tx = optax.identity()
    options = StepOptions(LOSS, ema_decay=0.9, augment=augment, microbatches=parts)
    steps = Steps(
        *networks(group),
        family,
        Optimizers(tx, tx),
        options,
        label_log_probs=LOG_PROBS,
    )

    def jitted(name, *fixed):
        def step(weights, state, *given):
            method = getattr(replace(steps, frozen=weights), name)
            return method(state, step_key(), *given, *fixed, 1.0, RATE)

        compiled = jax.jit(step)
        return lambda state, *given: compiled(pooled(), state, *given)

    d_step, g_step = jitted("d_step"), jitted("g_step", N, None)
    return d_step, g_step, jitted("penalty_step", N)


@functools.cache
def start():
    """Returns a first state whose spectral vectors are those of its kernels.

    Power iterations then leave them, up to rounding.
    """
    tx = optax.identity()
    create = jax.jit(create_state, static_argnums=(1, 2, 3))
    state = create(jax.random.key(0), *networks(2), tx, family.init_loss_state(LOSS))
    stats = traverse_util.flatten_dict(state.d_stats)
    for path, kernel in traverse_util.flatten_dict(state.d_params).items():
        if path[-1] == "kernel" and (*path[:-1], "u") in stats:
            matrix = np.asarray(kernel).reshape(-1, kernel.shape[-1])
            _, vectors = np.linalg.eigh(matrix.T.astype(np.float64) @ matrix)
            u = vectors[:, -1].astype(np.float32)
            v = matrix @ u
            stats[*path[:-1], "u"], stats[*path[:-1], "v"] = u, v / np.linalg.norm(v)
    tree = jax.tree.map(jnp.asarray, traverse_util.unflatten_dict(stats))
    steps = Steps(*networks(2), family, Optimizers(tx, tx), StepOptions(LOSS))
    steps = replace(steps, frozen=pooled(), label_log_probs=LOG_PROBS)
    return state.replace(d_stats=tree, sums=steps.zero_sums(state, N))


def step_key():
    return jax.random.key(2)


def examples(first=0, last=N):
    images, labels = reals(N)
    return Examples(images[first:last], labels[first:last])


def draws(first=0, last=N):
    """Returns what each step with that key draws, or its rows of a part."""
    keys = jax.random.split(step_key(), 3)
    all_rows = family.draw_for_d(keys, N, MODEL, LOSS, LOG_PROBS)
    return jax.tree.map(lambda x: x[first:last], all_rows)


def averages_of_w(state, averages):
    """Moves the averages by the draws of a step, image after image."""
    given, averages = draws(), np.array(averages, np.float64)
    generator, _ = networks(2)
    one_hot = jax.nn.one_hot(given.labels, CLASSES)
    w = generator.apply(state.trained.g, given.z, one_hot, method="mapping")
    for row, label in zip(np.asarray(w), np.asarray(given.labels), strict=True):
        averages[label] = DECAY * averages[label] + (1 - DECAY) * row
    return averages


def iterated(matrix, u, steps):
    """Returns u and v after power iterations."""
    for _ in range(steps):
        v = matrix @ u
        v /= np.linalg.norm(v)
        u = matrix.T @ v
        u /= np.linalg.norm(u)
    return u, v


def same(one, other):
    return all(
        np.array_equal(a, b)
        for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True)
    )


def assert_close(one, other, tolerance):
    """Compares trees by their norms."""
    difference = optax.tree.norm(jax.tree.map(np.subtract, one, other))
    assert difference <= tolerance * optax.tree.norm(one)


def spectral(tree):
    flat = traverse_util.flatten_dict(tree)
    return {path: x for path, x in flat.items() if path[-1] in ("u", "v")}


def unconverged():
    """Returns the first state with spectral vectors that are far from converged."""
    stats = jax.tree_util.tree_map_with_path(
        lambda path, x: (
            jnp.ones_like(x) / np.sqrt(x.size) if path[-1].key in ("u", "v") else x
        ),
        start().d_stats,
    )
    return start().replace(d_stats=stats)


@pytest.mark.parametrize("parts", [1, 2])
def test_averages_of_w_follow_the_fakes_of_d_by_class_from_part_to_part(parts):
    d_step, g_step, _ = make(parts)
    averages = averages_of_w(start(), np.zeros((CLASSES, MODEL.w_size)))
    state = d_step(start(), examples())
    np.testing.assert_allclose(
        state.g_stats["w_average"], averages, rtol=1e-4, atol=1e-7
    )
    seen = np.unique(draws().labels)
    rest = np.setdiff1d(np.arange(CLASSES), seen)
    assert 1 < len(seen) < N and len(rest)  # One comes twice, and one does not.
    assert not np.asarray(state.g_stats["w_average"])[rest].any()
    after = g_step(state)
    assert same(after.g_stats, state.g_stats)


@pytest.mark.parametrize("parts", [1, 2])
def test_spectral_vectors_follow_each_pass_of_both_steps_from_part_to_part(parts):
    d_step, g_step, _ = make(parts)
    before = unconverged()
    after_d = d_step(before, examples())
    after_g = g_step(after_d)
    path = "lite0", "heads_0", "conv0"
    kernels, stats = (
        [traverse_util.flatten_dict(getattr(s, name)) for s in (before, after_d)]
        for name in ("d_params", "d_stats")
    )
    first, second = (np.asarray(k[*path, "kernel"]).reshape(-1, 64) for k in kernels)
    # D's step judges fakes and real images, and G's only fakes.
    u, v = iterated(first, np.asarray(stats[0][*path, "u"]), 2 * parts)
    np.testing.assert_allclose(stats[1][*path, "u"], u, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(stats[1][*path, "v"], v, rtol=1e-3, atol=1e-5)
    u, _ = iterated(second, u, parts)
    last = traverse_util.flatten_dict(after_g.d_stats)
    np.testing.assert_allclose(last[*path, "u"], u, rtol=1e-3, atol=1e-5)
    assert same(after_g.d_params, after_d.d_params)


def test_running_averages_of_d_follow_in_both_steps_and_random_layers_never():
    d_step, g_step, _ = make()
    states = [start(), d_step(start(), examples())]
    states.append(g_step(states[-1]))
    flat = [traverse_util.flatten_dict(s.d_stats) for s in states]
    for path in flat[0]:
        moved = [
            not np.array_equal(a[path], b[path]) for a, b in itertools.pairwise(flat)
        ]
        if "mixing" in path[1]:
            assert moved == [False, False], path
        elif path[-1] in ("mean", "variance"):
            assert moved == [True, True], path


def test_the_penalty_moves_g_and_its_average_length_and_nothing_of_d():
    *_, penalty_step = make()
    after = penalty_step(start())
    assert same((after.d_params, after.d_opt), (start().d_params, start().d_opt))
    assert same((after.d_stats, after.g_stats), (start().d_stats, start().g_stats))
    assert not same(after.g_params, start().g_params)
    assert same((after.g_ema, after.g_ema_stats), (start().g_ema, start().g_ema_stats))
    length = after.sums["penalty_path_length"]
    assert length > 0
    np.testing.assert_allclose(after.loss_state["path_length"], 0.01 * length, 1e-5)
    again = penalty_step(after)
    expected = 0.99 * after.loss_state["path_length"] + 0.01 * (
        again.sums["penalty_path_length"] - length
    )
    np.testing.assert_allclose(again.loss_state["path_length"], expected, 1e-5)


@pytest.mark.parametrize(
    "augment", [(), pytest.param(POLICIES, marks=pytest.mark.slow)]
)
def test_gradients_of_parts_of_whole_groups_are_those_of_the_batch(augment):
    """The averages of D's normalisation alone show how a batch was split."""
    after = [make(n, augment=augment)[0](start(), examples()) for n in (1, 2)]
    moved = [jax.tree.map(np.subtract, s.d_params, start().d_params) for s in after]
    assert optax.tree.norm(moved[0]) > 1e-4
    # Statistics of two images amplify rounding.
    assert_close(*moved, 5e-3)
    np.testing.assert_allclose(after[0].sums["d_loss"], after[1].sums["d_loss"], 1e-4)
    assert_close(*(spectral(s.d_stats) for s in after), 1e-4)


@pytest.mark.slow
def test_groups_of_another_size_have_other_gradients():
    """So that groups cannot be ignored unnoticed."""
    after = [make(group=group)[0](start(), examples()) for group in (2, 4)]
    moved = [jax.tree.map(np.subtract, s.d_params, start().d_params) for s in after]
    # A sum over the images of a group has their number as a factor.
    moved[1] = jax.tree.map(lambda x: x / 2, moved[1])
    difference = optax.tree.norm(jax.tree.map(np.subtract, *moved))
    assert difference > 0.05 * optax.tree.norm(moved[0])


@pytest.mark.slow
def test_gradients_of_parts_are_the_mean_of_those_of_each_part_by_itself():
    state, gradients = unconverged(), []
    before, stats = state.trained, state.trained.stats
    for first in (0, 2):
        part = draws(first, first + 2)
        given = LossInputs(
            Networks(*networks(2)),
            before.with_stats(stats),
            examples(first, first + 2),
            None,
            part,
            Progress(jnp.ones([]), 1.0, step_key()),
            state.loss_state,
            LOSS,
            pooled(),
        )
        gradient, stats = of_part(given)
        gradients.append(gradient)
    mean = jax.tree.map(lambda a, b: (a + b) / 2, *gradients)
    after = make(2)[0](state, examples())
    moved = jax.tree.map(lambda a, b: (a - b) / RATE, state.d_params, after.d_params)
    assert_close(mean, moved, 2e-3)
    assert_close(stats.d, after.d_stats, 1e-4)
    assert_close(stats.g, after.g_stats, 1e-4)


def of_part(given):
    """Returns the gradients of D's loss of one part, and the stats after it."""

    @jax.jit
    def run(variables, reals, draws, weights):
        inputs = given._replace(
            variables=variables, reals=reals, draws=draws, frozen=weights
        )
        generator, at = inputs.networks.generator, inputs.progress
        images, g_stats = family.make_fakes(
            generator, variables.g, draws, draws.labels, at
        )
        inputs = inputs.with_fakes(Examples(images, draws.labels), g_stats)
        gradient = jax.grad(family.d_loss, has_aux=True)
        gradient, (_, stats, _) = gradient(variables.d["params"], inputs)
        return gradient, stats

    return run(given.variables, given.reals, given.draws, given.frozen)


def test_a_skipped_step_leaves_everything_that_it_would_have_moved():
    broken = examples()._replace(images=examples().images * np.nan)
    after = make()[0](start(), broken)
    assert after.sums["d_skipped"] == 1
    kept = ("d_params", "d_stats", "g_stats", "loss_state")
    assert all(same(getattr(after, name), getattr(start(), name)) for name in kept)


def test_sums_are_named_by_the_losses():
    kinds = ("d", "g", "penalty")
    counts = {f"{kind}_{what}" for kind in kinds for what in ("steps", "skipped")}
    scores = {f"{kind}_{of}" for kind in ("real", "fake") for of in ("scores", "signs")}
    losses = {"d_loss", "g_loss", "penalty_loss", "penalty_path_length"}
    assert set(start().sums) == counts | scores | losses


class Batches:
    """The same real images in every step."""

    def take(self, pair, repeat):
        del pair, repeat
        digits = coloured_digits()
        labels = jnp.asarray(digits.labels[:N], jnp.int32)
        return jnp.asarray(digits.levels[SIDE][:N]), labels, jnp.zeros(N, bool)


def test_a_restored_state_continues_to_the_same_bits(tmp_path):
    g, d = (scale_by_authors_adam(0.0, beta, 1e-8) for beta in (0.992, 0.991))
    options = StepOptions(LOSS, ema_decay=0.9, augment=POLICIES)
    steps = Steps(*networks(2), family, Optimizers(g, d), options)
    steps = replace(steps, label_log_probs=LOG_PROBS)

    @jax.jit
    def run(state, weights):
        rows = jnp.ones(3)
        nimg = N * jnp.arange(3, dtype=jnp.float32)
        controls = Controls(jnp.int32(3), rows, RATE * rows, RATE * rows, nimg)
        return replace(steps, frozen=weights).run(state, Batches(), controls)[0]

    state = start().replace(
        g_opt=g.init(start().g_params), d_opt=d.init(start().d_params)
    )
    everywhere = replicated(make_mesh(jax.devices()[:1]))
    half = run(jax.device_put(state, everywhere), pooled())
    assert half.sums["penalty_steps"] == 2 and half.sums["d_skipped"] == 0
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(3 * N, half, {}, wait=True)

    def abstract(_):
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), half
        )

    with Checkpoints(tmp_path, keep=1) as checkpoints:
        restored, _ = checkpoints.restore_newest(abstract)
    ends = [run(of, pooled()) for of in (half, restored)]
    for a, b in zip(*map(jax.tree.leaves, map(as_data, ends)), strict=True):
        np.testing.assert_array_equal(a, b)
    # All of what changes without gradients is in a checkpoint, and has changed since.
    for name in ("d_stats", "g_stats", "g_ema_stats", "loss_state", "g_opt", "d_opt"):
        assert not same(getattr(half, name), getattr(ends[0], name)), name


def as_data(state):
    return state.replace(key=jax.random.key_data(state.key))
