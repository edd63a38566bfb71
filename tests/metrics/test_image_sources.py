import dataclasses

import jax
import numpy as np
import pytest

from progan_jax.data.index_stream import IndexStream
from progan_jax.data.pyramid import build_pyramid
from progan_jax.errors import UserError
from progan_jax.metrics.image_sources import Reals, describe_set, open_fakes
from progan_jax.models.common import init_generator
from progan_jax.models.progan.networks import Generator
from progan_jax.models.progan.options import Options
from progan_jax.runtime.mesh import batched, make_mesh
from tests.untrained import untrained

MODEL = dataclasses.asdict(Options(latent_size=4, fmap_base=16, fmap_max=8))


@pytest.fixture(scope="module")
def pyramid():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), np.uint8)
    return build_pyramid("noise", pixels, np.arange(20, dtype=np.int32) % 3, 3)


@pytest.fixture(scope="module")
def params():
    generator = Generator(8, Options(latent_size=4, fmap_base=16, fmap_max=8))
    return untrained(init_generator, generator)


@pytest.mark.parametrize(
    ("known", "names", "learnt", "words"),
    [
        (0, (), 0, "0 classes"),
        (3, (), 0, "3 classes, left out by config.model.num_classes = 0"),
        (
            3,
            ("ant", "bee", "cat"),
            3,
            "3 classes (ant, bee, cat), trained by class",
        ),
        (3, (), 2, "3 classes, the first 2 of them trained by class"),
    ],
)
def test_a_set_is_described_with_what_becomes_of_its_classes(
    tiny_config, pyramid, known, names, learnt, words
):
    tiny_config.model.num_classes = learnt
    described = dataclasses.replace(pyramid, num_classes=known, class_names=names)
    assert describe_set(tiny_config, described) == (
        f"noise: 20 images of 16x16, 3 channels, {words}"
    )


def describe(pyramid, **changes):
    data_set = {"name": pyramid.name, "fingerprint": pyramid.fingerprint}
    info = {
        "stage": {"resolution": 8, "alpha": 1.0},
        "options": MODEL,
        "dataset": data_set,
    }
    return info | changes


def collect(source, num_images):
    return np.concatenate(list(source.chunks(num_images)))


@pytest.mark.parametrize("skip", [0, 15])
def test_real_images_follow_the_stream_and_its_mirroring(pyramid, skip, monkeypatch):
    monkeypatch.setattr("progan_jax.metrics.image_sources._CHUNK_PIXELS", 7 * 16 * 16)
    reals = Reals(pyramid, 16, seed=3, mirror=True, skip=skip)
    indices, flips = IndexStream(3, 20, mirror=True).take(skip, 25)
    expected = [
        image[:, ::-1] if flip else image
        for image, flip in zip(pyramid.levels[16][indices], flips, strict=True)
    ]
    assert np.array_equal(collect(reals, 25), np.stack(expected))
    assert np.array_equal(reals.labels(25), pyramid.labels[indices])


def test_reading_real_images_does_not_change_the_set(pyramid):
    before = pyramid.levels[16].copy()
    collect(Reals(pyramid, 16, seed=3, mirror=True), 40)
    assert np.array_equal(pyramid.levels[16], before)


def test_first_fakes_do_not_depend_on_number_or_devices(pyramid, params, monkeypatch):
    monkeypatch.setattr("progan_jax.metrics.image_sources._CHUNK_PIXELS", 7 * 16 * 16)
    reals = Reals(pyramid, 16, seed=3, mirror=False)
    mesh = make_mesh(jax.devices()[:4])
    few, many, split = (
        collect(open_fakes("s", params, describe(pyramid), reals, sharding), number)
        for sharding, number in ((None, 5), (None, 18), (batched(mesh), 18))
    )
    assert many.shape == (18, 16, 16, 3)
    assert np.array_equal(many[:5], few)
    assert np.abs(many.astype(int) - split).max() <= 1
    # At half the resolution, enlarged by repeated pixels; all of them differ.
    assert np.array_equal(many[:, ::2, ::2], many[:, 1::2, 1::2])
    assert len(np.unique(many.reshape(18, -1), axis=0)) == 18


def test_images_that_are_not_finite_are_refused(pyramid, params):
    broken = jax.tree.map(lambda x: x * np.nan, params)
    reals = Reals(pyramid, 16, seed=3, mirror=False)
    fakes = open_fakes("000009_r008", broken, describe(pyramid), reals, None)
    with pytest.raises(
        UserError, match="snapshot 000009_r008: its images are not finite"
    ):
        collect(fakes, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"dataset": {"name": "cats", "fingerprint": "0"}},
            "snapshot s was trained on other images .cats.",
        ),
        ({"dataset": None}, "snapshot s does not say which images it was trained on"),
        ({"stage": {"resolution": 32}}, "resolution = 16: snapshot s generates 32x32"),
    ],
)
def test_snapshots_of_other_runs_are_refused(pyramid, params, changes, message):
    reals = Reals(pyramid, 16, seed=3, mirror=False)
    with pytest.raises(UserError, match=message):
        open_fakes("s", params, describe(pyramid, **changes), reals, None)
