"""The projected discriminator, against numbers of the authors' program."""

import functools

import jax
import numpy as np
import pytest

from progan_jax.models.stylegan_xl.backbone_inputs import prepare
from progan_jax.models.stylegan_xl.backbones import BACKBONES
from tests.stylegan_xl_d import (
    backbones,
    channels_first,
    compiled,
    d_path,
    d_variables,
    discriminator,
    draws,
    frozen,
    images,
    labels,
    our_layout,
    projected,
)
from tests.stylegan_xl_golden import assert_close, below, golden, meta

CASES = ("D16c", "D32u", "D256c", "D16base")

BRANCHES = (
    ("D16c", "deit_tiny"),
    ("D16c", "lite0"),
    ("D256c", "lite0"),
    ("D16base", "deit_base"),
)

TRAIN, EVAL = ("logits_train", "logits_train_second"), "logits_eval_after_two"

every_case = pytest.mark.parametrize("case", CASES)
every_branch = pytest.mark.parametrize(("case", "name"), BRANCHES)


@functools.cache
def passes(case):
    """Returns the logits of two passes in training, and the variables after them."""
    d, variables, outputs = discriminator(case), d_variables(case), []
    inputs = projected(case, images(case)), labels(case)
    for _ in range(2):
        train = compiled(d, method="judge", train=True, mutable=("stats",))
        logits, changed = train(variables, *inputs)
        variables = variables | changed
        outputs.append(logits)
    return outputs, variables


@every_case
def test_variables_are_those_of_our_network(case):
    d = discriminator(case)
    image = np.zeros((1, d.resolution, d.resolution, 3), np.float32)
    label = None if labels(case) is None else np.zeros(1, np.int32)
    ours = jax.eval_shape(d.init, jax.random.key(0), image, label, np.float32(1))
    theirs = d_variables(case)
    assert jax.tree.map(np.shape, theirs) == jax.tree.map(lambda x: x.shape, ours)


def assert_logits_close(logits, case, key):
    for ours, theirs in zip(logits, backbones(case).values(), strict=True):
        assert_close(ours, golden()[f"{case}/{key}/{theirs}"], 1e-4)


@every_case
@pytest.mark.parametrize("key", TRAIN)
def test_logits_are_the_authors(case, key):
    assert_logits_close(passes(case)[0][TRAIN.index(key)], case, key)


@every_case
def test_logits_after_training_are_the_authors(case):
    judge = compiled(discriminator(case), method="judge", train=False)
    logits = judge(passes(case)[1], projected(case, images(case)), labels(case))
    assert_logits_close(logits, case, EVAL)


@every_case
def test_training_changes_the_stats_as_the_authors(case):
    variables = passes(case)[1]
    stored = below(f"{case}/after")
    assert len(stored) == 4 * len(backbones(case))
    for name, theirs in stored.items():
        ours = functools.reduce(lambda tree, part: tree[part], d_path(name), variables)
        assert_close(ours, our_layout(name, theirs), 1e-4)


def test_logits_of_augmented_images_are_the_authors():
    d, names = discriminator("D16c"), backbones("D16c")
    drawn = {o: draws(f"D16c/diffaug/draw/{t}") for o, t in names.items()}
    features = projected("D16c", images("D16c"), draws=drawn)
    logits, _ = compiled(d, method="judge", train=True, mutable=("stats",))(
        d_variables("D16c"), features, labels("D16c")
    )
    assert_logits_close(logits, "D16c", "diffaug/logits_train")


@functools.cache
def maps(case, name):
    """Returns a backbone's input, and its maps by their kind in the golden file."""
    d, backbone = discriminator(case), BACKBONES[name]
    seen = prepare(images(case), backbone, backbone.side(d.resolution))

    def run(d, params, seen):
        branch = d._branches[d.backbones.index(name)]
        features = backbone.features(params, seen)
        if branch.reassembly is not None:
            features = branch.reassembly(features)
        mixed = branch.channel_mixing(features)
        return {
            "feature": features,
            "ccm": mixed,
            "csm": branch.scale_mixing(mixed),
        }

    variables, weights = d_variables(case), frozen(case)[name]
    return seen, compiled(d, method=run)(variables, weights, seen)


@every_branch
def test_backbones_see_what_the_authors_do(case, name):
    seen = channels_first(maps(case, name)[0])
    theirs = golden()[f"{case}/{backbones(case)[name]}/input"]
    assert_close(seen[:1, :, ::28, ::28], theirs)


@every_branch
@pytest.mark.parametrize("kind", ["feature", "ccm", "csm"])
def test_maps_are_the_authors(case, name, kind):
    for level, x in enumerate(maps(case, name)[1][kind]):
        key = f"{case}/{backbones(case)[name]}/{kind}{level}"
        cut, x = meta()[key], channels_first(x)
        assert x.shape == tuple(cut["full_shape"])
        step = cut["stride"]
        kept = slice(None, None, 2) if kind == "feature" else slice(16)
        tolerance = 1e-4 if name == "lite0" else 1e-5
        assert_close(x[:1, kept, ::step, ::step], golden()[key], tolerance)
