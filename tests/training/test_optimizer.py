import jax
import jax.numpy as jnp
import numpy as np
import optax

from progan_jax.training.optimizer import scale_by_authors_adam


def authors_steps(gradients, beta1, beta2, epsilon):
    """The formula of the reference, step by step in float64."""
    m = v = 0.0
    for t, g in enumerate(gradients, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        rate = np.sqrt(1 - beta2**t) / (1 - beta1**t)
        yield rate * m / (np.sqrt(v) + epsilon)


def run(tx, gradients):
    state = tx.init(jnp.zeros(3))
    for gradient in gradients:
        step, state = tx.update(gradient, state)
        yield step


def gradients(scale=1.0):
    return np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32) * scale


def test_steps_follow_the_authors_formula_with_epsilon_outside_the_correction():
    # Gradients of the size of epsilon, where the two forms of Adam differ most.
    g = gradients(1e-7)
    ours = list(run(scale_by_authors_adam(0.0, 0.99, 1e-8), g))
    np.testing.assert_allclose(
        ours, list(authors_steps(g.astype(float), 0.0, 0.99, 1e-8)), rtol=1e-4
    )
    usual = list(run(optax.scale_by_adam(0.0, 0.99, 1e-8), g))
    assert np.abs(np.array(usual) / np.array(ours) - 1).max() > 0.2


def test_momentum_is_corrected_for_its_start():
    g = gradients()
    ours = list(run(scale_by_authors_adam(0.9, 0.999, 1e-8), g))
    expected = list(authors_steps(g.astype(float), 0.9, 0.999, 1e-8))
    np.testing.assert_allclose(ours, expected, rtol=1e-4)


def test_first_step_has_unit_size_and_the_gradients_sign():
    (step,) = run(scale_by_authors_adam(0.0, 0.99, 1e-8), gradients()[:1])
    np.testing.assert_allclose(step, np.sign(gradients()[0]), rtol=1e-4)


def test_zero_gradients_move_nothing():
    (step,) = run(scale_by_authors_adam(0.0, 0.99, 1e-8), [jnp.zeros(3)])
    assert not step.any()


def test_state_counts_steps():
    tx = scale_by_authors_adam(0.0, 0.99, 1e-8)
    state = tx.init({"a": jnp.zeros(3)})
    _, state = jax.jit(tx.update)({"a": jnp.ones(3)}, state)
    assert state.count == 1
