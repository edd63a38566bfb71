"""The projected discriminator as a Flax module."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from progan_jax.models.common import init_discriminator, weight_shapes
from progan_jax.models.stylegan_xl.backbones import BACKBONES
from progan_jax.models.stylegan_xl.discriminator import Discriminator, with_embedding

SMALL = Discriminator(16, 3, ("lite0",), 64, (4, 6), 2)

IMAGES = np.random.default_rng(0).uniform(-1, 1, (4, 16, 16, 3)).astype("f4")

LABELS = np.array([0, 2, 1, 0], np.int32)


@functools.cache
def frozen():
    random = np.random.default_rng(0)
    arrays = {
        name: random.uniform(0.5, 1.5, shape) / np.sqrt(np.prod(shape[1:]))
        for name, shape in BACKBONES["lite0"].timm_shapes().items()
    }
    return {"lite0": BACKBONES["lite0"].from_timm(arrays)}


@functools.cache
def variables(seed=0):
    init = jax.jit(lambda key: SMALL.init(key, IMAGES[:1], LABELS[:1], 1.0))
    return init(jax.random.key(seed))


def count(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("name", "frozen_parameters"), [("deit_base", 94_749_776), ("lite0", 3_335_616)]
)
def test_numbers_of_parameters_are_the_authors(name, frozen_parameters):
    d = Discriminator(256, 1000, (name,))
    made = jax.eval_shape(lambda: d.init(jax.random.key(0), IMAGES[:1], LABELS[:1]))
    assert count(made["params"]) == 13_757_888
    layers = {
        part: layer
        for part, layer in made["stats"][name].items()
        if not part.startswith("heads")
    }
    backbone = BACKBONES[name]
    # They count a classifier of transformers, and no averages of normalisations.
    shapes = backbone.timm_shapes(classifier=backbone.is_transformer)
    shapes = {k: s for k, s in shapes.items() if "running" not in k}
    sizes = sum(int(np.prod(s)) for s in shapes.values())
    assert sizes + count(layers) == frozen_parameters


def test_initialisation_needs_no_backbones():
    d = Discriminator(16, 5, ("deit_tiny", "lite0"), embedding=(8, 24))
    assert len(weight_shapes(d)) > 100
    assert set(jax.eval_shape(lambda: init_discriminator(jax.random.key(0), d))) == {
        "deit_tiny",
        "lite0",
    }


def test_random_layers_follow_the_key_and_start_as_drawn():
    a, b = (variables(seed)["stats"]["lite0"] for seed in (0, 1))
    for part in ("channel_mixing", "scale_mixing"):
        kernels = (x[part]["level0"]["kernel"] for x in (a, b))
        assert not np.allclose(*kernels)
    norm = a["heads_0"]["norm0"]
    assert np.all(norm["mean"] == 0) and np.all(norm["variance"] == 1)


def test_only_heads_have_parameters():
    assert set(variables()["params"]["lite0"]) == {f"heads_{k}" for k in range(4)}


@functools.cache
def scored():
    """Returns logits, and the changed stats, of a step of training."""
    run = jax.jit(lambda v, x, y, f: SMALL.apply(v, x, y, frozen=f, mutable=["stats"]))
    return run(variables(), IMAGES, LABELS, frozen())


def test_logits_are_one_row_per_image_and_backbone():
    (logits,), _ = scored()
    assert logits.shape == (4, 4)  # One per level: maps of 4x4 at this small side.
    assert np.isfinite(logits).all()


def test_projecting_and_judging_apart_is_the_same():
    project = jax.jit(lambda v, x, f: SMALL.apply(v, x, f, method="project"))
    judge = jax.jit(
        lambda v, x, y: SMALL.apply(v, x, y, method="judge", mutable=["stats"])
    )
    features = project(variables(), IMAGES, frozen())
    logits, changed = judge(variables(), features, LABELS)
    np.testing.assert_allclose(logits[0], scored()[0][0], rtol=1e-4, atol=1e-4)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4),
        changed["stats"],
        scored()[1]["stats"],
    )


def test_training_changes_no_random_layer():
    before, after = variables()["stats"]["lite0"], scored()[1]["stats"]["lite0"]
    for part in ("channel_mixing", "scale_mixing"):
        jax.tree.map(np.testing.assert_array_equal, before[part], after[part])
    heads = before["heads_0"]["conv0"]["u"], after["heads_0"]["conv0"]["u"]
    assert not np.array_equal(*heads)


def test_a_table_is_put_into_every_head():
    table = np.arange(24.0).reshape(4, 6)
    params = with_embedding(variables()["params"], table)
    for head in params["lite0"].values():
        np.testing.assert_array_equal(head["embedding"], table)
    shapes = [jax.tree.map(jnp.shape, p) for p in (params, variables()["params"])]
    assert shapes[0] == shapes[1]


def test_wrong_calls_are_refused():
    for labels, d in ((None, SMALL), (LABELS, SMALL.clone(num_classes=0))):
        with pytest.raises(ValueError, match="labels given to a discriminator of"):
            jax.eval_shape(lambda y=labels, d=d: d.init(jax.random.key(0), IMAGES, y))
    with pytest.raises(ValueError, match="no weights given of the backbones"):
        SMALL.apply(variables(), IMAGES, LABELS, mutable=["stats"])
    with pytest.raises(ValueError, match="48 must be 0, or a multiple of 32 from 64"):
        SMALL.clone(backbone_size=48).init(jax.random.key(0), IMAGES, LABELS)
    with pytest.raises(ValueError, match="5 classes need a table of as many rows"):
        SMALL.clone(num_classes=5).init(jax.random.key(0), IMAGES, LABELS)
