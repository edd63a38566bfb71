"""Pivotal tuning on small networks that were never trained."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from progan_jax.errors import NotFiniteError, UserError
from progan_jax.inference.generator import TrainedGenerator
from progan_jax.inference.projection import Projected, ProjectionOptions, project
from progan_jax.inference.tuning import TuningOptions, tune
from progan_jax.models.common import to_weights
from progan_jax.models.stylegan_xl.generator import Generator
from tests.inference.test_projection import (
    DISTANCE,
    image_of,
    make_generator,
    mean_square,
)
from tests.metrics.snapshots import make_info
from tests.tiny_xl import MODEL

FAST = {"learning_rate": 3e-3, "pixel_weight": 0.0, "space_radius": 1.0}


@pytest.fixture(scope="module")
def generator():
    return make_generator()


def pivot_of(generator, noise=None):
    w = np.random.default_rng(1).standard_normal((1, 8), np.float32)
    w = np.repeat(w, generator.num_layers, axis=0)
    return Projected(0, w, noise or {}, 0.0, np.zeros((8, 8, 3), np.uint8))


def target():
    return np.random.default_rng(2).integers(0, 256, (8, 8, 3), np.uint8)


def last_of(generator, pivot, label=None, **options):
    options = TuningOptions(**FAST | {"steps": 30} | options)
    return list(tune(generator, pivot, target(), DISTANCE, options, label))[-1]


def generator_of(generator, tuned):
    return TrainedGenerator(to_weights(tuned.variables), generator.info, "tuned")


def test_the_pivots_image_comes_nearer_and_the_generator_stays(generator):
    pivot, before = pivot_of(generator), jax.device_get(generator.variables)
    options = TuningOptions(**FAST, steps=60)
    states = list(tune(generator, pivot, target(), DISTANCE, options, every=25))
    assert [state.step for state in states] == [0, 25, 50, 60]
    found = [state.distance for state in states]
    assert found[-1] < 0.7 * found[0] and sorted(found, reverse=True) == found
    for state in (states[0], states[-1]):
        image = image_of(generator_of(generator, state), pivot.w)
        expected = np.mean((image - (target() / 127.5 - 1)) ** 2)
        assert state.distance == pytest.approx(float(expected), rel=1e-4)
        bytes_ = np.clip(np.rint(image * 127.5 + 127.5), 0, 255)
        np.testing.assert_allclose(state.image, bytes_, atol=1)
    after = jax.device_get(generator.variables)
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_another_tuning_takes_the_programs_of_the_first(generator):
    pivot, traced, numbers = pivot_of(generator), [], []

    def count(one, other):
        traced.append(one.shape)
        return mean_square(one, other)

    for seed, steps in ((0, 2), (1, 3)):
        options = TuningOptions(**FAST, steps=steps, seed=seed)
        moved = pivot._replace(w=pivot.w + seed)
        list(tune(make_generator(), moved, target(), count, options))
        numbers.append(len(traced))
    assert numbers == [2, 2]  # Of the pivot's image, and of one near it.


def test_all_of_the_synthesis_moves_and_nothing_else(generator):
    tuned = last_of(generator, pivot_of(generator))
    moved = jax.tree.map(
        lambda a, b: not np.array_equal(a, b),
        jax.device_get(generator.variables),
        jax.device_get(tuned.variables),
    )
    synthesis = moved["params"]["synthesis"]
    del synthesis["to_rgb_4x4"]  # Of an earlier stage: it makes no image any more.
    assert all(jax.tree.leaves(synthesis))
    assert not any(jax.tree.leaves((moved["params"]["mapping"], moved["stats"])))


def test_images_near_the_pivot_change_less_if_they_are_held(generator):
    pivot = pivot_of(generator)
    z = np.random.default_rng(3).standard_normal((8, 8), np.float32)
    way = generator.truncate(generator.mapping(z), 0.5, generator.num_layers) - pivot.w
    length = np.sqrt(np.sum(way**2, axis=(1, 2), keepdims=True))
    near = pivot.w + way / length

    def change(weight):
        tuned = last_of(generator, pivot, space_weight=weight, steps=100)
        images = [
            g.synthesis(near, noise="fixed")
            for g in (generator, generator_of(generator, tuned))
        ]
        return np.mean((images[0] - images[1]) ** 2), tuned.distance

    free, held = change(0.0), change(10.0)
    assert held[0] < 0.8 * free[0]
    assert held[1] > free[1]


def test_one_seed_gives_one_result(generator):
    pivot = pivot_of(generator)
    first, again, other = (
        last_of(generator, pivot, seed=seed, steps=5).image for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_noise_of_the_search_becomes_that_of_the_tuned_generator(generator):
    paths = [p for p in _stats(generator.variables) if p.endswith("/noise")]
    path = paths[-1]
    noise = {path: np.ones_like(_stats(generator.variables)[path])}
    pivot = pivot_of(generator, noise)
    options = TuningOptions(**FAST, steps=1)
    first, last = tune(generator, pivot, target(), DISTANCE, options)
    image = image_of(generator, pivot.w, noise)
    expected = np.mean((image - (target() / 127.5 - 1)) ** 2)
    assert first.distance == pytest.approx(float(expected), rel=1e-4)
    np.testing.assert_array_equal(_stats(last.variables)[path], noise[path])


def _stats(variables):
    flat = jax.tree_util.tree_flatten_with_path(variables["stats"])[0]
    return {"/".join(key.key for key in path): np.asarray(x) for path, x in flat}


def test_a_stylegan_xl_with_classes_is_searched_and_tuned():
    network = Generator(MODEL.resolution, MODEL)
    inputs = jnp.zeros((1, 8)), jnp.zeros((1, MODEL.num_classes))
    variables = jax.jit(network.init)(jax.random.key(0), *inputs)
    info = make_info(network, "stylegan_xl")
    generator = TrainedGenerator(to_weights(variables), info, "000001_r016")
    goal = np.zeros((16, 16, 3), np.uint8)
    options = ProjectionOptions(steps=10, latents=50, learning_rate=0.2)
    searched = list(project(generator, goal, DISTANCE, options, label=2))
    assert searched[-1].distance < searched[0].distance
    options = TuningOptions(steps=10, space_radius=1.0)
    states = list(tune(generator, searched[-1], goal, DISTANCE, options, label=2))
    assert states[0].distance == pytest.approx(searched[-1].distance, rel=1e-4)
    assert states[-1].distance < states[0].distance
    image = generator_of(generator, states[-1]).synthesis(searched[-1].w[None])[0]
    expected = np.clip(np.rint(image * 127.5 + 127.5), 0, 255)
    np.testing.assert_allclose(states[-1].image, expected, atol=1)


def test_images_that_become_infinite_end_the_tuning(generator):
    broken = Partial(lambda a, b: mean_square(a, b) * jnp.inf)
    states = tune(generator, pivot_of(generator), target(), broken, TuningOptions())
    with pytest.raises(NotFiniteError, match="000001_r008: its images are not finite"):
        next(states)


def test_a_generator_without_a_mapping_says_its_family():
    progan = make_generator("progan")
    pivot = Projected(0, np.zeros((1, 8)), {}, 0.0, target())
    with pytest.raises(UserError, match="tuning is for style-based generators, and"):
        next(tune(progan, pivot, target(), DISTANCE, TuningOptions()))
