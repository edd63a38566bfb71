"""Projection on small networks that were never trained."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from progan_jax.errors import NotFiniteError, UserError
from progan_jax.inference.generator import TrainedGenerator, to_uint8
from progan_jax.inference.projection import ProjectionOptions, project
from progan_jax.models.common import to_weights
from tests.metrics.snapshots import make_fakes, make_info


def mean_square(a, b):
    return jnp.mean(jnp.square(a - b), axis=(1, 2, 3)) / 127.5**2


DISTANCE = Partial(mean_square)
FEW = {"latents": 200, "learning_rate": 0.2}


def make_generator(family="stylegan", **settings):
    fakes = make_fakes(family, stage=8, **settings)
    info = make_info(fakes.sampler.generator, family)
    return TrainedGenerator(to_weights(fakes.variables), info, "000001_r008")


@pytest.fixture(scope="module")
def generator():
    return make_generator()


@functools.cache
def compiled(network, method):
    return jax.jit(functools.partial(network.apply, method=method))


def image_of(generator, w, noise=None):
    """Returns [r, r, C] of w, one for all layers or each, by the fixed noise."""
    network = generator.network.clone(noise_mode="fixed")
    w = np.broadcast_to(w, (1, network.num_layers, 8))
    variables = jax.device_get(generator.variables)
    for path, array in (noise or {}).items():
        *parents, leaf = path.split("/")
        place = variables["stats"]
        for parent in parents:
            place = place[parent]
        place[leaf] = array
    return compiled(network, "synthesis")(variables, w, np.float32(1))[0]


def target_of(generator, seed=1):
    z = np.random.default_rng(seed).standard_normal((1, 8), np.float32)
    w = compiled(generator.network, "mapping")(generator.variables, z)
    return to_uint8(image_of(generator, w))


def test_the_search_begins_at_the_average_and_comes_nearer(generator):
    target = target_of(generator)
    options = ProjectionOptions(steps=60, **FEW)
    states = list(project(generator, target, DISTANCE, options, every=20))
    assert [state.step for state in states] == [0, 20, 40, 60]
    assert states[-1].distance < 0.5 * states[0].distance
    z = np.random.default_rng(0).standard_normal((2000, 8), np.float32)
    mapped = compiled(generator.network, "mapping")(generator.variables, z)
    # Four deviations of the mean of 200.
    close = 4 * np.std(mapped, 0) / np.sqrt(200)
    assert np.all(np.abs(states[0].w[0] - np.mean(mapped, 0)) < close)
    for state in states:
        assert state.w.shape == (4, 8)
        # It is what the network makes of w, and as far from the target as is said.
        image = image_of(generator, state.w)
        np.testing.assert_allclose(state.image, to_uint8(image), atol=1)
        found = np.mean((image - (target / 127.5 - 1)) ** 2)
        assert state.distance == pytest.approx(float(found), rel=1e-4)


def test_one_seed_gives_one_result(generator):
    target = target_of(generator)

    def last(seed):
        options = ProjectionOptions(steps=5, seed=seed, **FEW)
        return list(project(generator, target, DISTANCE, options))[-1]

    first, again, other = (last(seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.w, again.w)
    assert not np.array_equal(first.w, other.w)


def test_another_search_takes_the_programs_of_the_first(generator):
    target, traced = target_of(generator), []

    def count(one, other):
        traced.append(one.shape)
        return mean_square(one, other)

    for seed, steps in ((0, 2), (1, 3)):
        options = ProjectionOptions(steps=steps, seed=seed, **FEW)
        list(project(make_generator(), target, count, options))
    assert len(traced) == 1


def test_layers_have_a_w_of_their_own_only_if_asked_for(generator):
    target = target_of(generator)
    one, own = (
        list(
            project(
                generator,
                target,
                DISTANCE,
                ProjectionOptions(steps=40, per_layer=per_layer, **FEW),
            )
        )[-1]
        for per_layer in (False, True)
    )
    np.testing.assert_array_equal(one.w, np.broadcast_to(one.w[0], one.w.shape))
    assert np.ptp(own.w, axis=0).min() > 0
    assert one.noise == own.noise == {}


def test_noise_that_is_searched_for_stays_normal_and_uncorrelated(generator):
    target = target_of(generator)
    options = ProjectionOptions(steps=40, noise=True, **FEW)
    last = list(project(generator, target, DISTANCE, options))[-1]
    assert len(last.noise) == 4
    for path, noise in last.noise.items():
        assert path.startswith("synthesis/") and path.endswith("/noise")
        assert noise.mean() == pytest.approx(0, abs=1e-4)
        assert noise.std() == pytest.approx(1, abs=1e-3)
        if len(noise) >= 8:
            beside = [np.mean(noise * np.roll(noise, 1, axis)) for axis in (0, 1)]
            assert np.abs(beside).max() < 0.3
    image = image_of(generator, last.w, last.noise)
    np.testing.assert_allclose(last.image, to_uint8(image), atol=1)


def test_a_class_shapes_the_average():
    generator = make_generator(num_classes=3)
    target = np.zeros((8, 8, 3), np.uint8)
    options = ProjectionOptions(steps=1, latents=50)
    first, second = (
        next(project(generator, target, DISTANCE, options, label)).w for label in (0, 2)
    )
    assert not np.allclose(first, second)


def test_images_that_become_infinite_end_the_search(generator):
    broken = Partial(lambda a, b: mean_square(a, b) * jnp.inf)
    with pytest.raises(NotFiniteError, match="000001_r008: its images are not finite"):
        next(project(generator, target_of(generator), broken, ProjectionOptions()))


def test_rates_rise_and_fall_and_noise_decays():
    options = ProjectionOptions()
    assert options.rate(0) == 0
    assert options.rate(25) == pytest.approx(0.05)
    assert options.rate(50) == options.rate(750) == pytest.approx(0.1)
    assert options.rate(875) == pytest.approx(0.05)
    assert options.rate(1000) == pytest.approx(0)
    assert options.strength(0) == 0.05
    assert options.strength(375) == pytest.approx(0.0125)
    assert options.strength(750) == options.strength(999) == 0
    assert math.isfinite(options.rate(999))


def test_a_generator_without_a_mapping_says_its_family():
    target = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(UserError, match="is for style-based generators, and"):
        next(project(make_generator("progan"), target, DISTANCE, ProjectionOptions()))
