"""Pictures against those of the generator itself."""

import numpy as np
import pytest

from progan_jax.display.answers import Explorer
from progan_jax.inference.generator import to_uint8

KINDS = [{}, {"num_classes": 3}, {"g_norm": "batch"}]


@pytest.fixture(params=KINDS, ids=["plain", "classes", "batch norm"])
def explorer(request, make_generator):
    return Explorer(make_generator(**request.param))


def expected(explorer, seed, count, label):
    """Images that the package draws without the explorer; they may round otherwise."""
    return to_uint8(explorer.generator.sample(count, seed, label)).astype(int)


def close(images, others):
    assert images.dtype == np.uint8
    np.testing.assert_allclose(images.astype(int), others, atol=1)


def test_a_way_begins_and_ends_with_the_images_of_its_seeds(explorer):
    label = 1 if explorer.generator.num_classes else None
    images = explorer.between((3, 4), [0.0, 0.5, 1.0], label)
    for image, seed in ((images[0], 3), (images[2], 4)):
        close(image[None], expected(explorer, seed, 1, label))
    assert (images[1] != images[0]).any()
    assert (images[1] != images[2]).any()
    alone = explorer.between((3, 4), [0.5], label)
    close(alone, images[1:2].astype(int))


def test_an_edit_moves_the_first_image_and_none_leaves_it(explorer):
    label = 2 if explorer.generator.num_classes else None
    amounts = [0.0] * len(explorer.directions.shares)
    assert len(amounts) == 8
    before = explorer.edited(5, amounts, label)
    close(before, expected(explorer, 5, 1, label))
    moved = explorer.edited(5, [4.0, *amounts[1:]], label)
    assert (before != moved).any()
    np.testing.assert_array_equal(explorer.edited(5, amounts, label), before)


def test_an_edit_is_the_image_of_the_latent_that_it_names(make_generator):
    explorer = Explorer(make_generator())
    generator = explorer.generator
    first, second = explorer.directions.vectors[:2]
    latent = explorer._latents(9)[0].astype(np.float64)
    moved = latent + 2 * first - 3 * second
    # The network divides by the length anyway.
    images = generator(5 * moved[None])
    amounts = [2.0, -3.0, 0, 0, 0, 0, 0, 0]
    close(explorer.edited(9, amounts, None), to_uint8(images).astype(int))
