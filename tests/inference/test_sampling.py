import jax
import jax.numpy as jnp
import numpy as np
import pytest

from progan_jax.inference.generator import TrainedGenerator, to_uint8
from progan_jax.inference.sampling import Sampler, draw_latents, generator_from_snapshot
from progan_jax.inference.snapshot import read_snapshot, write_snapshot
from progan_jax.models.progan import mode_test
from progan_jax.models.progan.networks import Generator
from progan_jax.models.progan.options import Options
from progan_jax.training.config import make_networks


def draw_samples(params, info, num, seed, label=None):
    generator = TrainedGenerator(params, info, "name")
    return to_uint8(generator.sample(num, seed, label))


def make(num_classes=0):
    narrow = {"latent_size": 4, "fmap_base": 16, "fmap_max": 8}
    g = Generator(8, Options(num_classes=num_classes, **narrow))
    labels = jnp.zeros((1, num_classes)) if num_classes else None
    params = g.init(jax.random.key(0), jnp.zeros((1, 4)), labels, 1.0)["params"]
    return g, params


def latents(n):
    return draw_latents(jax.random.key(1), n, 4)


@pytest.mark.parametrize("n", [1, 3, 4, 5, 9])
def test_images_do_not_depend_on_how_they_are_batched(n):
    g, params = make()
    images = Sampler(g, batch_size=4).sample(params, 0.5, latents(n))
    assert images.shape == (n, 8, 8, 3)
    assert images.dtype == np.uint8
    floats = g.apply({"params": params}, latents(n), alpha=0.5)
    expected = np.clip(np.asarray(floats) * 127.5 + 127.5, 0, 255)
    np.testing.assert_allclose(images, expected, atol=0.51)


def test_classes_are_the_ones_asked_for():
    g, params = make(num_classes=3)
    z = latents(1).repeat(3, axis=0)
    images = Sampler(g, batch_size=2).sample(params, 1.0, z, np.array([0, 1, 2]))
    one_hot = jnp.eye(3)
    floats = g.apply({"params": params}, z, one_hot, 1.0)
    expected = np.clip(np.asarray(floats) * 127.5 + 127.5, 0, 255)
    np.testing.assert_allclose(images, expected, atol=0.51)
    assert not np.array_equal(images[0], images[1])


def test_a_class_past_the_last_is_a_vector_of_zeros():
    g, params = make(num_classes=3)
    images = Sampler(g, batch_size=1).sample(params, 1.0, latents(1), np.array([3]))
    floats = g.apply({"params": params}, latents(1), jnp.zeros((1, 3)), 1.0)
    expected = np.clip(np.asarray(floats) * 127.5 + 127.5, 0, 255)
    np.testing.assert_allclose(images, expected, atol=0.51)


def snapshot(config, num_classes=0):
    config.model.num_classes = num_classes
    info = {"stage": {"resolution": 8, "alpha": 0.5}, "options": config.model.to_dict()}
    generator = generator_from_snapshot(info)
    labels = np.zeros((1, num_classes), np.float32) if num_classes else None
    z = np.zeros((1, config.model.latent_size), np.float32)
    return generator.init(jax.random.key(0), z, labels, 1.0)["params"], info


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_first_images_of_a_seed_do_not_depend_on_their_number(tiny_config, norm):
    tiny_config.model.g_norm = norm
    params, info = snapshot(tiny_config)
    few = draw_samples(params, info, 3, seed=1)
    many = draw_samples(params, info, 70, seed=1)
    assert np.array_equal(few, many[:3])
    other = draw_samples(params, info, 3, seed=2)
    assert not np.array_equal(few, other)


def test_an_image_of_batch_norm_depends_on_its_batch(tiny_config):
    tiny_config.model.g_norm = "batch"
    params, info = snapshot(tiny_config)
    sampler = Sampler(generator_from_snapshot(info), batch_size=4)
    z = draw_latents(jax.random.key(1), 7, tiny_config.model.latent_size)
    one, other = (sampler.sample(params, 1.0, z[rows]) for rows in ([0, 1], [0, 2]))
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


def test_samples_are_of_the_snapshots_alpha(tiny_config):
    params, info = snapshot(tiny_config)
    half = draw_samples(params, info, 4, seed=1)
    assert half.dtype == np.uint8
    for alpha in (0.0, 1.0):
        end = draw_samples(
            params, info | {"stage": info["stage"] | {"alpha": alpha}}, 4, seed=1
        )
        assert not np.array_equal(half, end)


def test_a_class_is_drawn_alone_or_all_of_them(tiny_config):
    params, info = snapshot(tiny_config, num_classes=3)
    fixed = draw_samples(params, info, 8, seed=1, label=2)
    mixed = draw_samples(params, info, 8, seed=1)
    same = [np.array_equal(a, b) for a, b in zip(fixed, mixed, strict=True)]
    assert any(same) and not all(same)
