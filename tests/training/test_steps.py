import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from progan_jax.data.feed import ResidentBatches
from progan_jax.models import progan
from progan_jax.models.common import Examples
from progan_jax.models.progan.networks import Discriminator, Generator
from progan_jax.models.progan.options import LossOptions, Options
from progan_jax.training.config import Controls, StepOptions
from progan_jax.training.optimizer import Optimizers, scale_by_authors_adam
from progan_jax.training.state import create_state
from progan_jax.training.steps import Steps

ADAM = scale_by_authors_adam(0.0, 0.99, 1e-8)
N, RESOLUTION, LATENT = 8, 8, 8
PAIRS = 4  # Length of the arrays, whatever number of pairs is run.


def make_steps(tx=ADAM, num_classes=0, network=None, fused=False, **options):
    narrow = {"latent_size": LATENT, "fmap_base": 16, "fmap_max": 8}
    model = Options(
        num_classes=num_classes,
        fused_resampling=fused,
        mbstd_group_size=4,
        **(narrow | (network or {})),
    )
    log_probs = (0.0, -np.inf, 0.0)[:num_classes]
    return Steps(
        Generator(RESOLUTION, model),
        Discriminator(RESOLUTION, model),
        progan,
        Optimizers(tx, tx),
        StepOptions(**({"loss": LossOptions()} | options)),
        label_log_probs=log_probs,
    )


def make_state(steps):
    networks = steps.generator, steps.discriminator
    loss_state = progan.init_loss_state(steps.options.loss)
    create = jax.jit(create_state, static_argnums=(1, 2, 3))
    state = create(jax.random.key(0), *networks, steps.tx.g, loss_state)
    return state.replace(sums=steps.zero_sums(state, N))


def make_batches(repeats=1):
    rng = np.random.default_rng(0)
    shape = (PAIRS, repeats, N)
    return ResidentBatches(
        images=jnp.asarray(
            rng.integers(0, 256, (32, RESOLUTION, RESOLUTION, 3), np.uint8)
        ),
        labels=jnp.asarray(rng.integers(0, 3, 32, np.int32)),
        indices=jnp.asarray(rng.integers(0, 32, shape, np.int32)),
        mirror=jnp.asarray(rng.integers(0, 2, shape).astype(bool)),
    )


def make_controls(*alphas, rate=0.01):
    padded = jnp.asarray([*alphas, *[1.0] * (PAIRS - len(alphas))], jnp.float32)
    rates = jnp.full_like(padded, rate)
    return Controls(jnp.int32(len(alphas)), padded, rates, rates, jnp.zeros_like(rates))


def step_key():
    return jax.random.key(3)


def reals():
    shape = (N, RESOLUTION, RESOLUTION, 3)
    return jax.random.uniform(jax.random.key(5), shape) * 2 - 1


def assert_equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def assert_close(one, other, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), one, other)


def differ(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return any(not np.array_equal(a, b) for a, b in pairs)


def host(state):
    """Copies what a step will be compared with; keys have no NumPy form."""
    return jax.device_get(state.replace(key=jax.random.key_data(state.key)))


def score_ascent(steps, state, z):
    """Returns the gradient by G's parameters of D's mean score of the fakes of z."""

    def mean_score(g_params):
        fakes = steps.generator.apply({"params": g_params}, z, alpha=0.5)
        out = steps.discriminator.apply({"params": state.d_params}, fakes, alpha=0.5)
        return out.scores.mean()

    return jax.jit(jax.grad(mean_score))(state.g_params)


# Compiled once for the tests that want no other options.
STEPS = make_steps(max_skipped=3)
D_STEP = jax.jit(STEPS.d_step)
G_STEP = jax.jit(STEPS.g_step, static_argnums=2)
RUN = jax.jit(STEPS.run)


def test_d_step_moves_d_alone_and_then_averages():
    steps, state = STEPS, make_state(STEPS)
    shifted = jax.tree.map(lambda x: x + 1, state.g_params)
    state = state.replace(g_params=shifted)
    new = D_STEP(state, step_key(), Examples(reals(), None), 0.5, 0.01)
    assert differ(new.d_params, state.d_params)
    assert_equal(new.g_params, state.g_params)
    expected = jax.tree.map(lambda e, p: 0.999 * e + 0.001 * p, state.g_ema, shifted)
    assert_close(new.g_ema, expected, rtol=1e-6)
    assert steps.options.ema_after == "d_step"


def test_g_step_moves_g_alone_and_averages_only_if_asked():
    state = make_state(STEPS)
    new = G_STEP(state, step_key(), N, None, 0.5, 0.01)
    assert differ(new.g_params, state.g_params)
    assert_equal(new.d_params, state.d_params)
    assert_equal(new.g_ema, state.g_ema)
    steps = make_steps(ema_after="g_step", ema_decay=0.9)
    new = jax.jit(steps.g_step, static_argnums=2)(state, step_key(), N, None, 0.5, 0.01)
    expected = jax.tree.map(lambda e, p: 0.9 * e + 0.1 * p, state.g_ema, new.g_params)
    assert_close(new.g_ema, expected, rtol=1e-5, atol=1e-7)


def test_g_step_descends_minus_the_mean_score():
    """Against the gradient of the score itself, on the latents of the step's key."""
    steps = make_steps(tx=optax.identity())
    state = make_state(steps)
    new = jax.jit(steps.g_step, static_argnums=2)(state, step_key(), N, None, 0.5, 1.0)
    z = jax.random.normal(jax.random.split(step_key())[0], (N, LATENT))
    ascent = score_ascent(steps, state, z)
    moved = jax.tree.map(lambda new, old: new - old, new.g_params, state.g_params)
    assert_close(moved, ascent, rtol=1e-3, atol=1e-6)


def test_simultaneous_step_uses_one_batch_of_fakes_and_the_old_networks():
    steps = make_steps(tx=optax.identity(), simultaneous=True)
    state = make_state(steps)
    together = jax.jit(steps.simultaneous_step)(
        state, step_key(), Examples(reals(), None), 0.5, 1.0, 1.0
    )
    # D's part is that of an alternating D step with the same key.
    apart = jax.jit(steps.d_step)(state, step_key(), Examples(reals(), None), 0.5, 1.0)
    assert_close(together.d_params, apart.d_params, rtol=1e-4, atol=1e-6)
    # G's part climbs the old D's score on D's own fakes.
    z = jax.random.normal(jax.random.split(step_key(), 3)[0], (N, LATENT))
    ascent = score_ascent(steps, state, z)
    moved = jax.tree.map(lambda new, old: new - old, together.g_params, state.g_params)
    assert_close(moved, ascent, rtol=1e-3, atol=1e-6)
    expected = jax.tree.map(
        lambda e, p: 0.999 * e + 0.001 * p, state.g_ema, together.g_params
    )
    assert_close(together.g_ema, expected, rtol=1e-5, atol=1e-7)


def test_run_of_many_pairs_is_the_pairs_one_by_one():
    batches, state = make_batches(), make_state(STEPS)
    controls = make_controls(0.1, 0.4, 0.7)
    whole, _ = RUN(state, batches, controls)
    step = jax.jit(STEPS.pair)
    for pair in range(3):
        state = step(state, batches, controls, jnp.int32(pair))
    assert whole.pairs == 3
    assert_close(whole.d_params, state.d_params, rtol=1e-5, atol=1e-6)
    assert_close(whole.g_params, state.g_params, rtol=1e-5, atol=1e-6)
    assert_close(whole.sums, state.sums, rtol=1e-5, atol=1e-6)


def test_short_runs_are_the_same_program():
    for num_pairs in (4, 3, 1):
        state, _ = RUN(
            make_state(STEPS), make_batches(), make_controls(*[1.0] * num_pairs)
        )
        assert state.pairs == num_pairs
        assert state.sums["d_steps"] == state.sums["g_steps"] == num_pairs
    assert RUN._cache_size() == 1  # Other tests run it, too.


def test_d_repeats_show_new_real_images_and_average_each_time():
    steps = make_steps(d_repeats=3)
    state, _ = jax.jit(steps.run)(
        make_state(steps), make_batches(repeats=3), make_controls(1.0, 1.0)
    )
    assert state.sums["d_steps"] == 6
    assert state.sums["g_steps"] == 2
    # The same with the repeats' images all alike goes another way.
    alike = make_batches(repeats=3)
    alike = alike.replace(indices=alike.indices[:, :1].repeat(3, axis=1))
    other, _ = jax.jit(steps.run)(make_state(steps), alike, make_controls(1.0, 1.0))
    assert differ(state.d_params, other.d_params)


def test_updates_that_are_not_finite_change_nothing_but_counts():
    state = make_state(STEPS)
    before = host(state)
    nan = make_controls(np.nan, np.nan)
    after, in_row = RUN(state, make_batches(), nan)
    for name in ("g_params", "d_params", "g_opt", "d_opt"):
        assert_equal(getattr(before, name), getattr(host(after), name))
    # It goes on averaging, what stays as it is.
    assert_close(before.g_ema, host(after).g_ema, rtol=1e-6, atol=1e-6)
    assert in_row == after.skipped_in_row == 2
    assert after.sums["d_skipped"] == after.sums["g_skipped"] == 2
    assert after.sums["d_steps"] == 0
    assert after.sums["d_loss"] == 0
    assert after.pairs == 2


def test_a_good_pair_ends_a_row_of_skipped_ones():
    controls = make_controls(np.nan, np.nan, 1.0)
    state, in_row = RUN(make_state(STEPS), make_batches(), controls)
    assert in_row == 0
    assert state.sums["d_skipped"] == 2
    assert state.sums["d_steps"] == 1
    assert np.isfinite(state.sums["d_loss"])


def test_run_gives_up_after_the_allowed_row():
    nan = make_controls(*[np.nan] * 4)
    state, in_row = RUN(make_state(STEPS), make_batches(), nan)
    assert in_row == state.pairs == STEPS.options.max_skipped == 3


def test_steps_of_a_pair_depend_on_the_pairs_number_alone():
    """What a resume relies on: no key is carried from pair to pair."""
    state = make_state(STEPS)
    later = state.replace(pairs=state.pairs + 7)
    one, _ = RUN(later, make_batches(), make_controls(1.0))
    again, _ = RUN(later, make_batches(), make_controls(1.0))
    other, _ = RUN(state, make_batches(), make_controls(1.0))
    assert_equal(host(one), host(again))
    assert differ(one.g_params, other.g_params)


@pytest.mark.parametrize(
    ("simultaneous", "fake_labels"),
    [
        (False, "random"),
        (True, "reals"),
        pytest.param(False, "reals", marks=pytest.mark.slow),
        pytest.param(True, "random", marks=pytest.mark.slow),
    ],
)
def test_conditional_steps_train_both_networks(fake_labels, simultaneous):
    loss = LossOptions(fake_labels=fake_labels)
    steps = make_steps(num_classes=3, loss=loss, simultaneous=simultaneous)
    before = make_state(steps)
    state, in_row = jax.jit(steps.run)(before, make_batches(), make_controls(1.0, 1.0))
    assert in_row == 0
    assert differ(state.g_params, before.g_params)
    assert state.sums["label_penalty_reals"] > 0
    assert state.sums["label_penalty_fakes"] > 0


@pytest.mark.parametrize(
    "steps",
    [
        make_steps(network={"dtype": "bfloat16"}),
        make_steps(fused=True),
        # Rows of the ablation train with these in tests/test_variants.py.
        *(
            pytest.param(make_steps(**options), marks=pytest.mark.slow)
            for options in (
                {"loss": LossOptions(kind="lsgan")},
                {"network": {"equalized": False}},
            )
        ),
    ],
    ids=["bfloat16", "fused", "lsgan", "unequalized"],
)
def test_other_losses_and_networks_train_both(steps):
    before = make_state(steps)
    state, in_row = jax.jit(steps.run)(before, make_batches(), make_controls(1.0))
    assert in_row == 0
    for name in ("d_params", "g_params"):
        new, old = getattr(state, name), getattr(before, name)
        assert differ(new, old)
        for leaf in jax.tree.leaves(new):
            assert leaf.dtype == jnp.float32
            assert np.isfinite(leaf).all()


def test_real_images_are_dequantised_by_noise_of_a_byte_from_a_key_of_its_own():
    batches, pair, alpha = make_batches(), jnp.int32(1), jnp.float32(1)
    plain = STEPS._reals(batches, pair, pair * 0, alpha, step_key())
    steps = make_steps(dequantise=True)
    noise = []
    for key in (step_key(), jax.random.key(4)):
        reals = steps._reals(batches, pair, pair * 0, alpha, key).images
        noise.append(np.asarray(reals - plain.images) * 127.5)
        assert np.abs(noise[-1]).max() <= 0.5 + 1e-4
        assert np.var(noise[-1]) == pytest.approx(1 / 12, rel=0.1)
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.1
    for key in jax.random.split(step_key(), 3):  # What the step itself draws from.
        drawn = np.asarray(jax.random.uniform(key, plain.images.shape)) - 0.5
        assert abs(np.corrcoef(noise[0].ravel(), drawn.ravel())[0, 1]) < 0.1


NOISY = LossOptions(kind="lsgan", noise_coefficient=0.2)


def noise_keys_of(run, monkeypatch):
    """Returns the noise that an eager `run` draws: its keys' bytes, one for each."""
    drawn = []

    def record(layer, x, noise):
        if noise is not None:
            key = layer.make_rng("noise")
            keys = jax.vmap(jax.random.fold_in, (None, 0))(key, noise.numbers)
            drawn.extend(bytes(d) for d in np.asarray(jax.random.key_data(keys)))
        return x

    with monkeypatch.context() as patch, jax.disable_jit():
        patch.setattr("progan_jax.models.progan.networks.multiply_noise", record)
        run()
    return drawn


@pytest.mark.parametrize(
    ("loss", "simultaneous", "evaluations"),
    [
        pytest.param(NOISY, True, 3, marks=pytest.mark.slow),
        pytest.param(NOISY, False, 3, marks=pytest.mark.slow),
        # No run of these is let through; mixed images would have noise of their own.
        pytest.param(
            LossOptions(noise_coefficient=0.2), False, 4, marks=pytest.mark.slow
        ),
    ],
)
def test_noise_is_drawn_again_for_each_evaluation_layer_and_image(
    monkeypatch, loss, simultaneous, evaluations
):
    steps = make_steps(loss=loss)
    state = make_state(steps)
    key_d, key_g = jax.random.split(step_key())

    def run():
        if simultaneous:
            steps.simultaneous_step(
                state, key_d, Examples(reals(), None), 0.5, 0.0, 0.0
            )
            return
        steps.d_step(state, key_d, Examples(reals(), None), 0.5, 0.0)
        steps.g_step(state, key_g, N, None, 0.5, 0.0)

    drawn = noise_keys_of(run, monkeypatch)
    assert len(drawn) == evaluations * 4 * N  # Two layers each at 8x8 and at 4x4.
    assert len(set(drawn)) == len(drawn)


def test_strength_of_the_noise_follows_the_scores_of_fakes_step_by_step():
    steps = make_steps(loss=NOISY)
    followed = {"fake_scores": jnp.float32(0.9)}
    state = make_state(steps).replace(loss_state=followed)
    # A last layer that is all bias: its scores are the bias, which rates of 0 keep.
    head = state.d_params["block_4x4"]["dense1"]
    step = jax.jit(steps.d_step)
    followed, strengths, total = 0.9, 0.0, 0.0
    for score in (0.7, 5.0, -1.0):
        constant = {"kernel": 0 * head["kernel"], "bias": jnp.full([1], score)}
        state.d_params["block_4x4"]["dense1"] = constant
        state = step(state, step_key(), Examples(reals(), None), 0.5, 0.0)
        strengths += 0.2 * max(followed - 0.5, 0) ** 2
        followed = 0.9 * followed + 0.1 * min(max(score, 0), 1)
        total += score
        found = state.loss_state["fake_scores"]
        np.testing.assert_allclose(found, followed, rtol=1e-5)
    np.testing.assert_allclose(state.sums["noise_strength"], strengths, rtol=1e-4)
    np.testing.assert_allclose(state.sums["fake_scores"], total, rtol=1e-4)


def test_noise_trains_both_networks_and_skipped_steps_leave_its_strength():
    steps = make_steps(loss=NOISY)
    run = jax.jit(steps.run)
    full = {"fake_scores": jnp.float32(1.0)}
    state = make_state(steps).replace(loss_state=full)
    after, _ = run(state, make_batches(), make_controls(1.0, 0.5))
    assert after.sums["d_skipped"] == after.sums["g_skipped"] == 0
    assert after.sums["noise_strength"] > 0
    for name in ("d_params", "g_params"):
        assert differ(getattr(after, name), getattr(state, name))
    after, _ = run(state, make_batches(), make_controls(np.nan, np.nan))
    assert after.sums["d_skipped"] == 2
    assert after.loss_state == {"fake_scores": 1}


def test_noise_that_has_no_strength_yet_trains_as_without_it():
    plain, noisy = (
        make_steps(loss=loss) for loss in (LossOptions(kind="lsgan"), NOISY)
    )
    states = [make_state(steps) for steps in (plain, noisy)]
    assert states[0].loss_state == {}
    one, other = (
        jax.jit(steps.d_step)(state, step_key(), Examples(reals(), None), 0.5, 0.01)
        for steps, state in zip((plain, noisy), states, strict=True)
    )
    assert_close(one.d_params, other.d_params, rtol=1e-4, atol=1e-6)
    assert 0 <= other.loss_state["fake_scores"] <= 0.1


def test_options_are_all_used():
    """A field that nothing reads would be a promise that is not kept."""
    source = (__import__("inspect").getsource(Steps)).replace("\n", "")
    for field in dataclasses.fields(StepOptions):
        assert f"options.{field.name}" in source, field.name
