"""The generator: whole passes, truncation, averages, and what a stage trains."""

import functools
from dataclasses import replace

import jax
import numpy as np
import pytest
from flax import traverse_util

from progan_jax.models.stylegan_xl.generator import Generator
from tests.stylegan_xl_golden import (
    G_OPTIONS,
    assert_close,
    channels_first,
    compiled,
    g_labels,
    g_path,
    g_variables,
    generator,
    golden,
)

all_cases = pytest.mark.parametrize("case", G_OPTIONS)


def paths(case):
    """Returns the paths of all parameters within "params"."""
    return set(traverse_util.flatten_dict(g_variables(case)["params"]))


@all_cases
def test_variables_are_those_of_our_network(case):
    g = generator(case)
    init = jax.eval_shape(
        g.init, jax.random.key(0), golden()[f"{case}/z"], g_labels(case)
    )
    expected = jax.tree.map(np.shape, dict(init))
    assert jax.tree.map(np.shape, g_variables(case)) == expected


@all_cases
def test_latents_and_classes_give_the_same_images(case):
    theirs, labels = golden()[f"{case}/image"], g_labels(case)
    n = len(theirs)
    labels = None if labels is None else labels[:n]
    z = golden()[f"{case}/z"][:n]
    images = compiled(generator(case))(g_variables(case), z, labels)
    assert images.shape == (n, *[G_OPTIONS[case].resolution] * 2, 3)
    assert_close(channels_first(images), theirs)


@pytest.mark.parametrize(
    ("psi", "cutoff"), [("0.7", "None"), ("0.7", "4"), ("0.0", "None")]
)
def test_truncation_gives_the_same_w_and_images(psi, cutoff):
    g = generator(
        "stem",
        truncation_psi=float(psi),
        truncation_cutoff=None if cutoff == "None" else int(cutoff),
    )
    state, labels = g_variables("stem"), g_labels("stem")
    w = compiled(g, method="truncate")(state, golden()["stem/ws"], labels)
    assert_close(w, golden()[f"stem/trunc_{psi}_{cutoff}/ws"])
    theirs = golden()[f"stem/trunc_{psi}_{cutoff}/image"]
    images = compiled(g)(state, golden()["stem/z"], labels)
    assert_close(channels_first(images)[: len(theirs)], theirs)


def test_truncation_without_classes_gives_the_same_w():
    g = generator("uncond", truncation_psi=0.5)
    w = compiled(g, method="truncate")(g_variables("uncond"), golden()["uncond/ws"])
    theirs = golden()["uncond/trunc_0.5/ws"]
    assert_close(w, np.broadcast_to(theirs[:, None], w.shape))


def test_truncation_without_labels_takes_the_mean_of_the_classes():
    g, state = generator("stem", truncation_psi=0.0), g_variables("stem")
    w = g.apply(state, golden()["stem/ws"], method="truncate")
    mean = state["stats"]["w_average"].mean(axis=0)
    assert_close(w, np.broadcast_to(mean, (4, 12, 32)), 1e-6)


def test_the_options_cutoff_is_used_unless_another_is_given():
    options = replace(G_OPTIONS["stem"], truncation_cutoff=4)
    g = Generator(16, options, truncation_psi=0.7)
    w = g.apply(
        g_variables("stem"), golden()["stem/ws"], g_labels("stem"), method="truncate"
    )
    assert_close(w, golden()["stem/trunc_0.7_4/ws"])


@pytest.mark.parametrize("case", ["stem", "uncond"])
def test_the_average_of_w_follows_training_calls_and_no_others(case):
    g, state, z = generator(case), g_variables(case), golden()[f"{case}/z"]

    @functools.partial(jax.jit, static_argnames="train")
    def stats_after(state, train):
        """Without the images: XLA leaves out what only they need."""
        settings = {"train": train, "mutable": ["stats"]}
        return g.apply(state, z, g_labels(case), **settings)[1]["stats"]

    changed = stats_after(state, train=True)
    assert_close(changed["w_average"], golden()[f"{case}/ema/w_avg"])
    same = stats_after(state, train=False)
    np.testing.assert_array_equal(same["w_average"], state["stats"]["w_average"])
    # Magnitudes, frequencies and phases stay in both.
    for stats in (changed, same):
        jax.tree.map(
            np.testing.assert_array_equal,
            stats["synthesis"],
            state["stats"]["synthesis"],
        )


def test_training_calls_are_not_truncated():
    g, state = generator("uncond", truncation_psi=0.0), g_variables("uncond")
    apply = compiled(g, train=True, mutable="stats")
    images, _ = apply(state, golden()["uncond/z"])
    assert_close(channels_first(images), golden()["uncond/image"])


def test_a_w_for_each_layer_gives_the_images_of_one_for_all():
    g, state, w = generator("uncond"), g_variables("uncond"), golden()["uncond/ws"]
    each = np.broadcast_to(w[:, None], (4, g.num_layers, 32))
    images = compiled(g, method="synthesis")(state, each)
    assert_close(channels_first(images), golden()["uncond/image"])
    with pytest.raises(ValueError, match=r"neither \[N, 32\] nor \[N, 9, 32\]"):
        g.apply(state, each[:, 1:], method="synthesis")


def test_a_stem_trains_everything():
    g = generator("stem")
    assert all(g.is_trained(path) for path in paths("stem"))


def test_a_superresolution_trains_its_head_and_the_input():
    g = generator("superres")
    trained = {path for path in paths("superres") if g.is_trained(path)}
    theirs = golden()["loss/superres_Gmain/with_grad"]
    assert trained == {g_path(name)[1:] for name in theirs}
    keeps, restores = (golden()[f"superres/reinit_{x}"] for x in ("keeps", "restores"))
    assert trained == {g_path(name)[1:] for name in keeps}
    assert paths("superres") - trained == {g_path(name)[1:] for name in restores}


@all_cases
def test_layers_are_the_convolutions_and_their_pixels(case):
    flat = traverse_util.flatten_dict(g_variables(case)["params"]["synthesis"])
    kernels = [k.shape for path, k in flat.items() if k.ndim == 4]
    listed = generator(case).layers()
    assert sorted(shape for shape, _ in listed) == sorted(kernels)
    assert listed[-1][1] == G_OPTIONS[case].resolution ** 2


def test_the_resolution_must_be_that_of_the_options():
    with pytest.raises(ValueError, match="resolution = 8 must be 16"):
        Generator(8, G_OPTIONS["uncond"]).init(jax.random.key(0), np.ones((1, 16)))
