"""A StyleGAN's images by Python, against numbers of the authors' program."""

import pickle

import jax
import numpy as np
import pytest

from progan_jax.errors import UserError
from progan_jax.inference.generator import TrainedGenerator
from progan_jax.inference.sampling import Sampler
from tests.explored import make_generator
from tests.styled import styled, weights_and_info
from tests.stylegan_golden import (
    assert_close_to_largest,
    channels_last,
    classes,
    golden,
)

__all__ = ["make_generator"]

both_nets = pytest.mark.parametrize("net", ["plain", "fused"])


def inputs(net, name="z", count=2):
    labels = classes(net)
    return golden()[f"{net}/{name}"][:count], None if labels is None else labels[:count]


def theirs(net, name, count=2):
    return channels_last(golden()[f"{net}/{name}"][:count])


@both_nets
def test_latents_are_mapped_to_the_authors_w(net):
    w = styled(net).mapping(*inputs(net, count=8))
    assert w.dtype == np.float32
    assert_close_to_largest(w, golden()[f"{net}/dlatents"])


@both_nets
def test_images_are_truncated_as_the_options_say(net):
    images = styled(net)(*inputs(net), noise="fixed")
    assert images.dtype == np.float32
    assert_close_to_largest(images, theirs(net, "truncated/G_out/lod0.00"))


@both_nets
def test_truncated_w_are_the_authors(net):
    g = styled(net)
    w = golden()[f"{net}/dlatents"]
    expected = golden()[f"{net}/truncated/dlatents"]
    assert_close_to_largest(g.truncate(w), expected)
    alone = g.truncate(w[:, None].repeat(g.num_layers, axis=1))
    np.testing.assert_array_equal(alone, g.truncate(w))


@both_nets
def test_psi_1_is_no_truncation(net):
    images = styled(net)(*inputs(net), truncation_psi=1, noise="fixed")
    assert_close_to_largest(images, theirs(net, "G_out/lod0.00"))


@both_nets
def test_mixed_styles_make_the_authors_images(net):
    g, (z, labels) = styled(net), inputs(net)
    z2, expected = inputs(net, "z2")[0], theirs(net, "mixing/G_out/lod0.00")
    layers = range(int(golden()[f"{net}/mixing/cutoff"]), g.num_layers)
    mixed = g.mix(z, z2, layers, labels, truncation_psi=1, noise="fixed")
    assert_close_to_largest(mixed, expected)
    own = g.synthesis(golden()[f"{net}/mixing/dlatents"][:2], noise="fixed")
    assert_close_to_largest(own, expected)


@pytest.mark.parametrize("psi", [0, -1, 2, 0.3])
def test_truncation_moves_w_along_the_line_through_its_average(psi):
    g, w = styled("fused"), golden()["fused/dlatents"]
    average = golden()["fused/G/dlatent_avg"]
    found = g.truncate(w, psi, 5)
    expected = np.stack([average + psi * (w - average)] * 5 + [w], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_random_noise_is_that_of_the_seed_and_the_images_number():
    g, w = styled("fused"), golden()["fused/dlatents"][:1].repeat(3, axis=0)
    images = g.synthesis(w, seed=7)
    np.testing.assert_allclose(g.synthesis(w[:2], seed=7), images[:2], atol=1e-5)
    for other in (images[1:], g.synthesis(w[:2], seed=8)):
        assert np.abs(other - images[:2]).max() > 0.01
    assert np.ptp(g.synthesis(w[:2], noise="fixed"), axis=0).max() < 1e-5
    sampled = g.sample(3, seed=7)
    np.testing.assert_allclose(g.sample(2, seed=7), sampled[:2], atol=1e-5)


def test_calls_take_the_seed_of_their_noise():
    g, z = styled("plain"), golden()["plain/z"][:2]
    w = g.truncate(g.mapping(z))
    for draw in (g, lambda z, seed: g.mix(z, z, [0], seed=seed)):
        for seed in (0, 5):
            expected = g.synthesis(w, seed=seed)
            np.testing.assert_allclose(draw(z, seed=seed), expected, atol=1e-5)
    assert np.abs(g(z, seed=5) - g(z)).max() > 1e-3


def test_without_noise_images_are_those_of_strengths_of_zero():
    w = golden()["fused/dlatents"][:2]
    weights, info = weights_and_info("fused")

    def silence(path, array):
        return 0 * array if path[-1].key == "noise_strength" else array

    silent = jax.tree_util.tree_map_with_path(silence, weights)
    expected = TrainedGenerator(silent, info, "it").synthesis(w)
    np.testing.assert_allclose(
        styled("fused").synthesis(w, noise="none"), expected, atol=1e-5
    )


def test_smaller_images_are_means_and_stale_ones_those_of_the_smaller_network():
    g, w = styled("fused"), golden()["fused/dlatents"][:2]
    expected = g.synthesis(w, noise="fixed").reshape(2, 8, 2, 8, 2, 3).mean((2, 4))
    found = g.synthesis(w, noise="fixed", resolution=8)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    stale = g.synthesis(w, noise="fixed", resolution=8, stale_rgb=True)
    # The authors' images at lod 1 are those of the RGB layer at 8x8, repeated.
    repeated = stale.repeat(2, axis=1).repeat(2, axis=2)
    assert_close_to_largest(repeated, theirs("fused", "G_out/lod1.00"))


def test_another_psi_or_cutoff_compiles_nothing(monkeypatch):
    made = []
    monkeypatch.setattr(
        "progan_jax.inference.programs.Sampler",
        lambda *a, **k: made.append(k["draw"].__name__) or Sampler(*a, **k),
    )
    g, (z, labels) = TrainedGenerator(*weights_and_info("fused"), "it"), inputs("fused")
    for psi, cutoff in ((1, 0), (0.5, 3), (-1, 6)):
        g(z, labels, truncation_psi=psi, truncation_cutoff=cutoff)
    assert made == ["map_latents", "synthesise"]


def test_a_copy_by_pickle_draws_the_same():
    g, (z, labels) = styled("fused"), inputs("fused")
    copied = pickle.loads(pickle.dumps(g))
    np.testing.assert_array_equal(copied(z, labels), g(z, labels))


Z, LABELS = np.zeros((2, 16), np.float32), [0, 1]
CALLS = {
    "psi": (lambda g: g(Z, LABELS, truncation_psi=3), "truncation_psi=3 must be a num"),
    "cutoff": (lambda g: g.sample(1, 0, truncation_cutoff=7), "truncation_cutoff=7 mu"),
    "noise": (lambda g: g.synthesis(Z, noise="loud"), "noise=loud must be one of rand"),
    "layers": (lambda g: g.mix(Z, Z, [6], LABELS), r"layers=\[6\]: layers are numbere"),
    "no layers": (lambda g: g.mix(Z, Z, None, LABELS), "layers=None: layers are numb"),
    "part": (lambda g: g.mix(Z, Z, 1.5, LABELS), "layers=1.5: layers are numbered"),
    "label": (lambda g: g.mapping(Z), "label is missing: give a class"),
    "mixed label": (lambda g: g.mix(Z, Z, "fine"), "label is missing: give a class"),
    "z": (lambda g: g.mapping(Z[:, :3], 0), r"z has the shape \[2, 3\] and must have"),
    "z2": (lambda g: g.mix(Z, Z[:1], "fine", 0), r"z1 has the shape \[2, 16\] and z2"),
    "w": (lambda g: g.synthesis(Z[:, :3]), r"w has the shape \[2, 3\] and must have"),
    "text": (lambda g: g.mix("z", Z, 3, 0), "z1 is no array of numbers, but of <U1"),
    "ragged": (lambda g: g.mix(Z, [[1], [1, 2]], 3, 0), "z2 is no array of numbers"),
    "complex w": (lambda g: g.synthesis(Z * 1j), "w is no array of numbers, but of co"),
    "w of layers": (lambda g: g.truncate(np.zeros((1, 5, 16))), r"w has the shape \[1"),
    "seed": (lambda g: g.synthesis(Z, seed=-1), r"seed=-1 must lie in \[0, 2\*\*32\)"),
    "no seed": (lambda g: g.synthesis(Z, seed=None), "seed=None must be a whole numb"),
    "half": (lambda g: g.synthesis(Z, seed=1.5), r"seed=1.5 must be a whole number in"),
    "side": (lambda g: g.synthesis(Z, resolution=5), "resolution=5 must be one of 4,"),
}


@pytest.mark.parametrize("call", CALLS)
def test_arguments_that_do_not_fit_are_refused_in_one_line(call):
    function, message = CALLS[call]
    with pytest.raises(UserError, match="^" + message) as caught:
        function(styled("fused"))
    assert "\n" not in str(caught.value)


PLAIN = np.zeros((1, 8), np.float32)
OF_STYLES = {
    "mapping": lambda g: g.mapping(PLAIN),
    "synthesis": lambda g: g.synthesis(PLAIN),
    "truncate": lambda g: g.truncate(PLAIN),
    "mix": lambda g: g.mix(PLAIN, PLAIN, "coarse"),
    "truncation_psi=0.7": lambda g: g(PLAIN, truncation_psi=0.7),
    "noise=none": lambda g: g.sample(1, 0, noise="none"),
}


@pytest.mark.parametrize("field", OF_STYLES)
def test_a_progressive_gan_says_that_it_has_no_styles(make_generator, field):
    with pytest.raises(UserError) as caught:
        OF_STYLES[field](make_generator())
    assert str(caught.value) == (
        f"{field} is for style-based generators, and this one is a Progressive GAN; "
        + ("leave it out, or " * ("=" in field) + "load a StyleGAN")
    )
