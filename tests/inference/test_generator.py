"""A trained generator, against the network that it is made of."""

import pickle
from dataclasses import asdict

import jax
import numpy as np
import pytest

from progan_jax.errors import NotFiniteError, UserError
from progan_jax.inference.generator import TrainedGenerator, to_uint8
from progan_jax.inference.sampling import (
    BATCH_SIZE,
    Sampler,
    generator_from_snapshot,
    seeded_latents,
)
from progan_jax.models.common import init_generator
from progan_jax.models.progan.networks import Generator
from progan_jax.models.progan.options import Options
from tests.untrained import untrained


@pytest.fixture(scope="module")
def made():
    return {}


@pytest.fixture
def make(made):
    """Makes generators of 8x8; those without names of classes are made once."""

    def make_trained(num_classes=0, alpha=0.5, scale=1.0, class_names=()):
        arguments = (num_classes, alpha, scale)
        if class_names or arguments not in made:
            sizes = {"latent_size": 8, "fmap_base": 32, "fmap_max": 8}
            options = Options(channels=1, num_classes=num_classes, **sizes)
            info = {
                "stage": {"resolution": 8, "alpha": alpha},
                "options": asdict(options),
                "dataset": {"class_names": list(class_names)},
            }
            params = untrained(init_generator, generator_from_snapshot(info))
            params = jax.tree.map(lambda x: np.asarray(x) * scale, params)
            trained = TrainedGenerator(params, info, "it")
            if class_names:
                return trained
            made[arguments] = trained
        return made[arguments]

    return make_trained


def latents(n, width=8):
    return np.random.default_rng(0).standard_normal((n, width))


def test_images_are_those_of_the_network_at_its_alpha(make):
    g, z = make(), latents(3)
    assert (g.latent_dim, g.resolution, g.num_classes, g.channels) == (8, 8, 0, 1)
    images = g(z)
    assert images.shape == (3, 8, 8, 1)
    assert images.dtype == np.float32
    expected = g.network.apply({"params": g.params}, z.astype(np.float32), alpha=0.5)
    np.testing.assert_allclose(images, expected, rtol=1e-5, atol=1e-6)


def test_many_latents_are_drawn_in_batches(make):
    g, z = make(), latents(BATCH_SIZE + 3)
    images = g(z)
    assert images.shape == (BATCH_SIZE + 3, 8, 8, 1)
    np.testing.assert_allclose(images[-3:], g(z[-3:]), rtol=1e-5, atol=1e-6)


def test_images_are_not_clipped_and_bytes_are(make):
    images = make(scale=20.0)(latents(4))
    assert np.abs(images).max() > 1
    expected = np.clip(np.round(images.astype(np.float64) * 127.5 + 127.5), 0, 255)
    stored = to_uint8(images)
    assert stored.dtype == np.uint8
    # A product that is rounded can fall to the other side of a half.
    assert np.abs(stored - expected).max() <= 1
    assert np.mean(stored != expected) < 0.01


def test_a_class_is_given_to_all_or_to_each(make):
    g, z = make(num_classes=3), latents(1).repeat(3, axis=0)
    each, first, second = g(z, [0, 1, 2]), g(z, 0), g(z, np.int64(1))
    np.testing.assert_array_equal(each[0], first[0])
    np.testing.assert_array_equal(each[1], second[1])
    assert not np.array_equal(each[0], each[1])


def test_numbers_of_images_share_few_programs(make, monkeypatch):
    made = []
    monkeypatch.setattr(
        "progan_jax.inference.programs.Sampler",
        lambda *a, batch_size, **k: (
            made.append(batch_size) or Sampler(*a, batch_size=batch_size, **k)
        ),
    )
    g, z = make(alpha=0.25), latents(5)
    for count in (5, 1, 2, 3, 4, 5):
        np.testing.assert_allclose(g(z[:count]), g(z)[:count], rtol=1e-5, atol=1e-6)
    assert made == [8, 1, 2, 4]


def test_a_copy_by_pickle_draws_the_same(make):
    g, z = make(), latents(2)
    images = g(z)
    copied = pickle.loads(pickle.dumps(g))
    np.testing.assert_array_equal(copied(z), images)
    assert repr(copied) == repr(g)


def test_a_seeds_latents_are_the_same_under_other_settings_of_jax():
    expected = seeded_latents(3, 2, 8)
    with jax.enable_x64(True), jax.default_prng_impl("rbg"):
        found = seeded_latents(3, 2, 8)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


def test_samples_of_a_seed_are_repeatable_and_of_a_class(make):
    g = make(num_classes=3)
    mixed = g.sample(8, seed=1)
    np.testing.assert_allclose(g.sample(2, 1), mixed[:2], rtol=1e-5, atol=1e-6)
    fixed = g.sample(8, seed=1, label=2)
    same = [np.array_equal(a, b) for a, b in zip(fixed, mixed, strict=True)]
    assert any(same) and not all(same)


def test_smaller_images_are_means_of_the_final_one(make):
    g, z = make(), latents(3)
    expected = g(z).reshape(3, 4, 2, 4, 2, 1).mean((2, 4))
    np.testing.assert_allclose(g(z, resolution=4), expected, rtol=1e-5, atol=1e-6)
    sampled = g.sample(3, 1).reshape(3, 4, 2, 4, 2, 1).mean((2, 4))
    found = g.sample(3, 1, resolution=4)
    np.testing.assert_allclose(found, sampled, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(g(z, resolution=8), g(z))


def test_stale_images_are_those_of_the_smaller_network(make):
    g, z = make(), latents(3).astype(np.float32)
    small = Generator(4, Options(channels=1, latent_size=8, fmap_base=32, fmap_max=8))
    params = {name: g.params[name] for name in ("block_4x4", "to_rgb_4x4")}
    expected = small.apply({"params": params}, z, alpha=1.0)
    stale = g(z, resolution=4, stale_rgb=True)
    np.testing.assert_allclose(stale, expected, rtol=1e-5, atol=1e-6)
    assert not np.allclose(stale, g(z, resolution=4), atol=1e-3)
    np.testing.assert_array_equal(g(z, stale_rgb=True), g(z))


def test_classes_are_chosen_by_name_as_by_number(make):
    g, z = make(3, class_names=("cat", "dog", "fish")), latents(3)
    assert g.class_names == ("cat", "dog", "fish")
    np.testing.assert_array_equal(g(z, "dog"), g(z, 1))
    np.testing.assert_array_equal(g(z, ["fish", "cat", "dog"]), g(z, [2, 0, 1]))
    np.testing.assert_array_equal(g.sample(3, 5, "fish"), g.sample(3, 5, 2))
    named = g.sample(3, 5, ["fish", "cat", "fish"])
    np.testing.assert_array_equal(named, g.sample(3, 5, [2, 0, 2]))
    one_by_one = [g.sample(3, 5, label)[i] for i, label in enumerate((2, 0, 2))]
    np.testing.assert_allclose(named, one_by_one, rtol=1e-5, atol=1e-6)
    with pytest.raises(UserError, match="label is missing: give a class, 0 cat, 1 d"):
        g(z)
    with pytest.raises(UserError, match="label=cow: there is no such class; choose"):
        g.sample(1, 0, "cow")


def test_names_that_are_no_list_of_the_classes_are_taken_for_unknown(make):
    assert make(3).class_names == make(0).class_names == ()
    assert make(3, class_names=("cat", "dog")).class_names == ()
    # Of a set's first classes alone, as data.truncate_labels chooses them.
    assert make(2, class_names=("cat", "dog", "fish")).class_names == ("cat", "dog")
    g = make(2, class_names=("cat\n\x1b[31m", 3))
    assert g.class_names == ("cat [31m", "3")
    g.info["dataset"]["class_names"] = "ab"
    assert g.class_names == ()


def test_a_thousand_classes_without_names_are_imagenets(make):
    g, z = make(1000), latents(1)
    assert len(g.class_names) == 1000
    np.testing.assert_array_equal(g(z, "tabby"), g(z, 281))
    g.info["dataset"]["name"] = "my_birds"
    assert g.class_names == ()
    del g.info["dataset"]["name"]


def test_imagenets_folders_are_named_in_words(make):
    g, z = make(2, class_names=("n02123045", "n02099601")), latents(1)
    assert g.class_names == ("tabby", "golden retriever")
    np.testing.assert_array_equal(g(z, "n02099601"), g(z, "golden retriever"))


CALLS = {
    "width": (0, lambda g: g(latents(2, 7)), r"z has the shape \[2, 7\] and must"),
    "rank": (0, lambda g: g(latents(1)[0]), r"z has the shape \[8\] and must have \[N"),
    "none": (0, lambda g: g(latents(0)), r"z has the shape \[0, 8\] and must"),
    "nan": (0, lambda g: g(latents(1) * np.nan), "z has numbers that are not finite"),
    "unconditional": (0, lambda g: g(latents(1), 0), "label=0: this generator has no"),
    "missing": (
        3,
        lambda g: g(latents(1)),
        "label is missing: give a class, a number from 0 to 2",
    ),
    "high": (3, lambda g: g(latents(2), [0, 3]), "label=3 must be from 0 to 2"),
    "low": (3, lambda g: g(latents(2), -1), "label=-1 must be from 0 to 2"),
    "count": (
        3,
        lambda g: g(latents(2), [1, 2, 0]),
        "label must be a class, or 2 of them, one for each image",
    ),
    "kind": (3, lambda g: g(latents(2), [0.5, 1]), r"it is float64\[2\]"),
    "ragged labels": (3, lambda g: g(latents(2), [[0], [0, 1]]), r"; it is object\[\]"),
    "name": (3, lambda g: g.sample(2, 1, "cat"), "label=cat must be from 0 to 2"),
    "ragged": (0, lambda g: g([[1.0], [1, 2]]), "z is no array of numbers .set"),
    "text": (0, lambda g: g("abc"), "z is no array of numbers, but of <U3; give real"),
    "nothing": (0, lambda g: g(None), "z is no array of numbers, but of object"),
    "n": (0, lambda g: g.sample(0, 1), "n=0 must be at least 1"),
    "part": (0, lambda g: g.sample(1.5, 1), "n=1.5 must be at least 1, and whole"),
    "seed text": (0, lambda g: g.sample(1, seed="a"), "seed=a must be a whole number"),
    "seed": (0, lambda g: g.sample(1, -1), r"seed=-1 must lie in \[0, 2\*\*32\)"),
    "sampled": (0, lambda g: g.sample(1, 1, 0), "label=0: this generator has no"),
    "class": (3, lambda g: g.sample(1, 1, 3), "label=3 must be from 0 to 2"),
    "side": (0, lambda g: g.sample(1, 1, resolution=16), "=16 must be one of 4, 8"),
}


@pytest.mark.parametrize("call", CALLS)
def test_arguments_that_do_not_fit_are_refused_in_one_line(make, call):
    num_classes, function, message = CALLS[call]
    with pytest.raises(UserError, match=message) as caught:
        function(make(num_classes))
    assert "\n" not in str(caught.value)


def test_images_that_are_not_finite_are_refused(make):
    with pytest.raises(NotFiniteError, match="snapshot it: its images are not finite"):
        make(scale=np.nan).sample(1, seed=1)


def test_images_beyond_all_bytes_are_warned_of_once_with_their_size(make, capsys):
    enormous = make(scale=1e12)
    largest = max(np.abs(enormous.sample(4, seed=seed)).max() for seed in (1, 2))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: snapshot it: its images reach ")
    assert 1e9 < float(line.split()[6].rstrip(",")) <= largest * 1.01
    make(scale=5).sample(4, seed=1)
    assert capsys.readouterr().err == ""


def test_it_describes_itself(make):
    assert repr(make(3)) == "<generator it: 8x8x1 from 8 latents, 3 classes>"
