"""Images with the styles of several latents, against images of every crossover."""

import itertools
from functools import partial

import jax
import numpy as np
import pytest

from progan_jax.errors import UserError
from progan_jax.inference.sampling import Sampler
from progan_jax.metrics.image_sources import open_fakes
from progan_jax.metrics.style_mixing import draw_crossovers, generate_mixed
from progan_jax.models.common import to_weights
from tests.metrics.snapshots import make_fakes, make_info, make_reals

LATENTS = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)


def images_of(generator, fakes, latents):
    """Draws float images without noise."""
    draw = partial(generate_mixed, latents=latents)
    sampler = Sampler(generator, len(LATENTS), finish=lambda x: x, draw=draw)
    return sampler.sample(fakes.variables, 1.0, LATENTS)


@pytest.mark.parametrize("latents", [2, 3])
def test_the_first_layers_are_those_of_the_latent_that_is_given(latents):
    fakes = make_fakes(stage=8)
    generator = fakes.sampler.generator.clone(noise_mode="none")
    w = generator.apply(fakes.variables, LATENTS, method="mapping")
    seen = []

    class Seeing:
        num_layers, num_classes = generator.num_layers, 0

        def apply(self, variables, x, *rest, method, **kwargs):
            seen.append((method, np.asarray(x)))
            return generator.apply(variables, x, *rest, method=method, **kwargs)

    numbers, key = np.arange(len(LATENTS)), jax.random.key(3)
    inputs = LATENTS, None, np.float32(1), numbers, key
    generate_mixed(Seeing(), fakes.variables, *inputs, latents=latents)
    (mapped, mixed) = ([x for m, x in seen if m == k] for k in ("mapping", "truncate"))
    ws = [
        np.asarray(generator.apply(fakes.variables, z, method="mapping"))
        for z in mapped
    ]
    np.testing.assert_array_equal(ws[0], w)
    for image, layers in enumerate(mixed[0]):
        sources = [
            next(i for i in range(latents) if np.array_equal(w_of, ws[i][image]))
            for w_of in layers
        ]
        # Each latent has a run of layers of its own, in order.
        assert [source for source, _ in itertools.groupby(sources)] == [*range(latents)]


def test_crossovers_are_distinct_layers_with_equal_chances():
    keys = jax.random.split(jax.random.key(0), 3000)
    drawn = np.asarray(jax.vmap(lambda key: draw_crossovers(key, 5, 2))(keys))
    assert (drawn[:, 0] != drawn[:, 1]).all()
    assert set(np.unique(drawn)) == {1, 2, 3, 4}
    np.testing.assert_allclose(np.bincount(drawn.ravel())[1:], 1500, rtol=0.1)


def test_an_image_does_not_depend_on_its_batch():
    fakes = make_fakes(stage=8)
    generator = fakes.sampler.generator
    draw = partial(generate_mixed, latents=3)
    apart, together = (Sampler(generator, n, draw=draw) for n in (2, 6))
    one, other = (s.sample(fakes.variables, 1.0, LATENTS) for s in (apart, together))
    np.testing.assert_array_equal(one, other)


def test_truncation_by_zero_makes_all_images_the_same():
    fakes = make_fakes(stage=8)
    settings = {"truncation_psi": 0.0, "truncation_cutoff": 4, "noise_mode": "none"}
    images = images_of(fakes.sampler.generator.clone(**settings), fakes, 2)
    np.testing.assert_allclose(images, images[:1].repeat(6, 0), atol=1e-6)
    free = images_of(fakes.sampler.generator.clone(noise_mode="none"), fakes, 2)
    assert np.ptp(free, axis=0).max() > 1e-3


def test_a_snapshot_of_fewer_layers_than_latents_is_refused():
    fakes = make_fakes(stage=4)
    reals = make_reals()
    info = make_info(fakes.sampler.generator, "stylegan")
    info["dataset"] = {"name": "noise", "fingerprint": reals.pyramid.fingerprint}
    weights = to_weights(fakes.variables)
    with pytest.raises(UserError) as caught:
        open_fakes("early", weights, info, reals, None, latents=3)
    assert str(caught.value) == (
        "config.eval.metrics: the styles of 3 latents need as many layers, and "
        "snapshot early of 4x4 has 2; name a later snapshot in config.eval.snapshot"
    )
    assert open_fakes("early", weights, info, reals, None, latents=2)
