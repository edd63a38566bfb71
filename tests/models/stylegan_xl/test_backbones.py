"""The sizes of what backbones see."""

import pytest

from progan_jax.models.stylegan_xl.backbones import BACKBONES


@pytest.mark.parametrize("name", ["deit_tiny", "deit_small", "deit_base"])
@pytest.mark.parametrize("resolution", [16, 256, 1024])
def test_transformers_have_their_own_side(name, resolution):
    assert BACKBONES[name].side(resolution, 64) == 224


def test_dinov2_has_as_many_tokens_as_deit():
    dino = BACKBONES["dinov2_small"]
    assert dino.side(16) == 196
    assert dino.network.tokens == BACKBONES["deit_small"].network.tokens == 14


@pytest.mark.parametrize(
    ("resolution", "chosen", "side"),
    [(16, 0, 224), (128, 0, 224), (256, 0, 256), (1024, 0, 1024), (32, 64, 64)],
)
def test_the_convolutional_one_sees_large_images_as_they_are(resolution, chosen, side):
    assert BACKBONES["lite0"].side(resolution, chosen) == side


def test_only_classifiers_have_classes():
    classes = {
        n: b.network.num_classes for n, b in BACKBONES.items() if b.is_transformer
    }
    assert classes.pop("dinov2_small") == 0
    assert set(classes.values()) == {1000}
