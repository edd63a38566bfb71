"""Losses of StyleGAN-XL against those of the authors' program.

ReLU6 at its corners and batch statistics of four images amplify rounding: theirs, in
float32, is off by up to 3 % of an array's largest value. Ours is in float64 here.
"""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from progan_jax.models import stylegan_xl as family
from progan_jax.models.common import Examples, LossInputs, Networks, Progress, Variables
from progan_jax.models.stylegan_xl.generator import Generator
from progan_jax.models.stylegan_xl.losses import Draws
from tests import stylegan_xl_d as d
from tests import stylegan_xl_golden as g

# Thousands of images shown, and the weight of the guidance.
G_CASES = {
    "Gmain_0kimg_cls0": (0, 0),
    "Gmain_90kimg_cls0": (90, 0),
    "Gmain_2000kimg_cls8": (2000, 8),
    "superres_Gmain": (2000, 8),
}
OF_ARRAY, OF_NORM = 3e-2, 1e-2


def inputs(frozen, variables, kimg, guidance=0.0, fakes=None, of="stem"):
    """Returns a loss's inputs: a generator, and their discriminator of 16x16."""
    number = 4 if of == "stem" else 2
    latents = jnp.asarray(g.golden()[f"{of}/z"][:number])
    classes = jnp.asarray(g.golden()[f"{of}/class"][:number], jnp.int32)
    reals = Examples(
        jnp.asarray(d.channels_last(g.golden()["loss/reals"])),
        jnp.asarray(g.golden()["loss/real_class"], jnp.int32),
    )
    options = replace(g.G_OPTIONS[of], dtype="float64")
    generator = Generator(options.resolution, options)
    return LossInputs(
        Networks(generator, d.discriminator("D16c")),
        variables,
        reals,
        fakes,
        Draws(latents, classes, jnp.arange(number)),
        Progress(jnp.ones([]), 1.0, jax.random.key(0), nimg=1000.0 * kimg),
        {},
        family.LossOptions(guidance_weight=guidance, classifier="deit_tiny"),
        frozen,
    )


def start(of="stem"):
    """Returns what a loss reads: the frozen weights, and the networks' variables."""
    frozen = {"backbones": d.frozen("D16c"), "classifier": d.classifier()}
    variables = Variables(g.g_variables(of), d.d_variables("D16c"))
    return jax.tree.map(lambda x: np.asarray(x, np.float64), (frozen, variables))


@functools.cache
def program_of_g(guidance, of):
    def differentiate(frozen, variables, kimg):
        given = inputs(frozen, variables, kimg, guidance, of=of)
        loss = jax.value_and_grad(family.g_loss, has_aux=True)
        return loss(given.variables.g["params"], given)

    return jax.jit(differentiate)


@functools.cache
def of_g(case):
    kimg, guidance = G_CASES[case]
    of = "superres" if case.startswith("superres") else "stem"
    with jax.enable_x64(True):
        return program_of_g(float(guidance), of)(*start(of), kimg)


@functools.cache
def of_d():
    """Returns D's loss of the stem's fakes after 90,000 images."""

    @jax.jit
    def differentiate(frozen, variables):
        given = inputs(frozen, variables, 90)
        generator, draws = given.networks.generator, given.draws
        fakes, g_stats = family.make_fakes(
            generator, variables.g, draws, draws.labels, given.progress
        )
        given = given.with_fakes(Examples(fakes, draws.labels), g_stats)
        loss = jax.value_and_grad(family.d_loss, has_aux=True)
        return loss(variables.d["params"], given)

    with jax.enable_x64(True):
        return differentiate(*start())


def assert_gradients_close(gradients, theirs, norm):
    """Compares gradients by path; theirs are a part, and some are first rows.

    `norm` is that of all gradients.
    """
    flat = traverse_util.flatten_dict(gradients)
    assert theirs
    if norm is None:  # Not stored.
        norm = np.sqrt(sum(np.sum(np.square(x)) for x in theirs.values()))
    else:
        total = np.sqrt(sum(np.sum(np.square(np.asarray(x))) for x in flat.values()))
        np.testing.assert_allclose(total, norm, rtol=OF_NORM)
    difference = 0.0
    for path, expected in theirs.items():
        ours = np.asarray(flat[path])[tuple(slice(n) for n in expected.shape)]
        # Biases before a normalisation have no gradient but rounding.
        most = max(OF_ARRAY * np.abs(expected).max(), 1e-5 * norm)
        np.testing.assert_allclose(ours, expected, rtol=0, atol=most, err_msg=path)
        difference += np.sum(np.square(ours - expected))
    assert np.sqrt(difference) < OF_NORM * norm


# The stage above the stem has the same losses as the stem with guidance.
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=[pytest.mark.slow] * (case == "Gmain_2000kimg_cls8"))
        for case in G_CASES
    ],
)
def test_the_loss_of_g_and_its_gradients_are_theirs(case):
    (loss, (scalars, *_)), gradients = of_g(case)
    theirs = g.below(f"loss/{case}")
    np.testing.assert_allclose(loss, theirs["loss"], rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(scalars["g_loss"], loss)
    if "guidance_loss" in theirs:
        g.assert_close(scalars["g_guidance"], theirs["guidance_loss"], 1e-4)
    arrays = {
        g.g_path(name.removeprefix("grad/"))[1:]: g.g_leaf(name[5:], array)
        for name, array in theirs.items()
        if name.startswith("grad/")
    }
    assert_gradients_close(gradients, arrays, theirs.get("grad_total_norm"))


def test_the_loss_of_d_and_its_gradients_are_theirs():
    (loss, (scalars, stats, _)), gradients = of_d()
    theirs = g.below("loss/Dmain")
    g.assert_close(loss, theirs["loss"], 1e-4)
    for kind in "real", "fake":
        logits = theirs[f"{kind}_logits"]
        g.assert_close(scalars[f"{kind}_scores"], logits.mean(), 1e-3)
        np.testing.assert_allclose(
            scalars[f"{kind}_signs"], np.sign(logits).mean(), atol=2 / logits.size
        )
    g.assert_close(stats.g["w_average"], theirs["w_avg_after"])
    arrays = {}
    for name, array in theirs.items():
        kind, _, of = name.partition("/")
        if kind in ("grad", "grad_rows"):
            arrays[d.d_path(of)[1:]] = d.our_layout(of, array)
    assert_gradients_close(gradients, arrays, theirs["grad_total_norm"])


def test_each_pass_of_d_takes_a_power_iteration():
    _, stats, _ = of_d()[0][1]
    theirs = g.below("loss/Dmain/after")
    for name, array in theirs.items():
        backbone, level, layer = name.split(".", 2)
        full = f"discriminators.{backbone}.mini_discs.{level}.{layer}"
        ours = traverse_util.flatten_dict(stats.d)[d.d_path(full)[1:]]
        g.assert_close(ours, d.our_layout(full, array))
