import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from progan_jax.inference import programs
from progan_jax.inference.generator import TrainedGenerator, to_uint8
from progan_jax.inference.sampling import Sampler, draw_latents, generator_from_snapshot
from progan_jax.inference.snapshot import read_snapshot, write_snapshot
from progan_jax.models.common import generate, init_generator
from progan_jax.models.progan import mode_test
from progan_jax.models.progan.networks import Generator
from progan_jax.models.progan.options import Options
from progan_jax.training.config import make_networks
from tests.untrained import untrained


def draw_samples(params, info, num, seed, label=None):
    generator = TrainedGenerator(params, info, "name")
    return to_uint8(generator.sample(num, seed, label))


@functools.cache
def make(num_classes=0):
    narrow = {"latent_size": 4, "fmap_base": 16, "fmap_max": 8}
    g = Generator(8, Options(num_classes=num_classes, **narrow))
    return g, untrained(init_generator, g)


def latents(n):
    return draw_latents(jax.random.key(1), n, 4)


def to_bytes(floats):
    return np.clip(np.asarray(floats) * 127.5 + 127.5, 0, 255)


def test_images_do_not_depend_on_how_they_are_batched():
    g, params = make()
    sampler, z = Sampler(g, batch_size=4), latents(9)
    expected = to_bytes(g.apply({"params": params}, z, alpha=0.5))
    for n in (1, 3, 4, 5, 9):
        images = sampler.sample({"params": params}, 0.5, z[:n])
        assert images.shape == (n, 8, 8, 3)
        assert images.dtype == np.uint8
        np.testing.assert_allclose(images, expected[:n], atol=0.51)


def test_classes_are_the_ones_asked_for_and_none_past_the_last():
    g, params = make(num_classes=3)
    z, one_hot = latents(1).repeat(4, axis=0), jnp.eye(4, 3)
    images = Sampler(g, batch_size=2).sample({"params": params}, 1.0, z, np.arange(4))
    floats = g.apply({"params": params}, z, one_hot, 1.0)
    np.testing.assert_allclose(images, to_bytes(floats), atol=0.51)
    assert len(np.unique(images, axis=0)) == 4


def test_equal_networks_are_compiled_once():
    g, params = make()
    traced = []

    def finish(images):
        traced.append(images.shape)
        return images

    for network, batch in ((g, 4), (g.clone(), 4), (g.clone(), 2), (g.clone(), 2)):
        sampler = Sampler(network, batch_size=batch, finish=finish)
        sampler.sample({"params": params}, 1.0, latents(3))
    assert traced == [(4, 8, 8, 3), (2, 8, 8, 3)]


def snapshot(config):
    info = {"stage": {"resolution": 8, "alpha": 0.5}, "options": config.model.to_dict()}
    generator = generator_from_snapshot(info)
    return untrained(init_generator, generator), info


def test_another_snapshot_takes_the_program_of_the_first(tiny_config, monkeypatch):
    traced = []

    def count(network, *inputs):
        traced.append(network)
        return generate(network, *inputs)

    monkeypatch.setattr(programs, "generate", count)
    params, info = snapshot(tiny_config)
    others = jax.tree.map(lambda x: x + 0.1, params)
    first, second = (
        TrainedGenerator(p, info, "name").sample(3, 0) for p in (params, others)
    )
    assert len(traced) == 1
    assert np.abs(first - second).max() > 0.01


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_first_images_of_a_seed_do_not_depend_on_their_number(tiny_config, norm):
    tiny_config.model.g_norm = norm
    params, info = snapshot(tiny_config)
    sample = TrainedGenerator(params, info, "name").sample
    few, many = to_uint8(sample(3, seed=1)), to_uint8(sample(70, seed=1))
    assert np.array_equal(few, many[:3])
    assert not np.array_equal(few, to_uint8(sample(3, seed=2)))


def test_an_image_of_batch_norm_depends_on_its_batch(tiny_config):
    tiny_config.model.g_norm = "batch"
    params, info = snapshot(tiny_config)
    sampler = Sampler(generator_from_snapshot(info), batch_size=4)
    z = draw_latents(jax.random.key(1), 7, tiny_config.model.latent_size)
    one, other = (
        sampler.sample({"params": params}, 1.0, z[rows]) for rows in ([0, 1], [0, 2])
    )
    assert not np.array_equal(one[0], other[0])


def test_snapshots_of_the_first_runs_are_of_the_papers_networks(tiny_config):
    model = tiny_config.model.to_dict()
    for name in ("g_norm", "g_slope", "topology"):
        del model[name]
    generator = generator_from_snapshot({"stage": {"resolution": 8}, "options": model})
    assert type(generator) is Generator
    options = generator.options
    assert (options.g_norm, options.g_slope) == ("none", 0.2)


def test_a_snapshot_of_the_mode_test_gives_its_images_again(tiny_config, tmp_path):
    tiny_config.model.topology = "mode_test"
    params, info = snapshot(tiny_config)
    write_snapshot(tmp_path / "000001_r008", params, info)
    again, told = read_snapshot(tmp_path / "000001_r008")
    generator = generator_from_snapshot(told)
    assert isinstance(generator, mode_test.Generator)
    assert generator == make_networks(tiny_config, 8, 1)[0]
    images = draw_samples(again, told, 2, seed=1)
    assert np.array_equal(images, draw_samples(params, info, 2, seed=1))
