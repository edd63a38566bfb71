"""Values of real CIFAR-10 images, spoiled in known ways, are in the right order.

Slow, and only where the set and Inception's weights are at hand.
"""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from progan_jax.data.index_stream import IndexStream
from progan_jax.data.sources import load
from progan_jax.metrics.frechet import frechet_distance, statistics_of
from progan_jax.metrics.inception import InceptionExtractor
from progan_jax.metrics.inception_weights import load_inception
from progan_jax.metrics.swd import average, swd

FOLDER = Path(
    os.environ.get("PROGAN_JAX_TEST_DATA") or Path(__file__).parents[3] / "shared"
)
WEIGHTS = FOLDER / "data" / "inception_2015_prefix.npz"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (FOLDER / "data" / "tfds" / "cifar10").exists() or not WEIGHTS.exists(),
        reason=f"CIFAR-10 or weights are not in {FOLDER}: set PROGAN_JAX_TEST_DATA",
    ),
]


def each(images, change):
    return np.stack([np.asarray(change(Image.fromarray(image))) for image in images])


def blur(images, radius):
    return each(images, lambda x: x.filter(ImageFilter.GaussianBlur(radius)))


def noise(images, stddev):
    added = np.random.default_rng(0).normal(0, stddev, images.shape)
    return np.clip(np.rint(images + added), 0, 255).astype(np.uint8)


def jpeg(images, quality):
    def encode(image):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return Image.open(buffer)

    return each(images, encode)


@pytest.fixture(scope="module")
def halves():
    pyramid = load("cifar10", str(FOLDER / "data" / "tfds"), "train", 32, 8192)
    order, _ = IndexStream(0, 50_000, mirror=False).take(0, 8192)
    pixels = pyramid.levels[32][order]
    return pixels[:4096], pixels[4096:]


def test_swd_grows_with_blur_and_noise_from_the_floor(halves):
    reals, others = halves
    spoiled = {
        "floor": others,
        "blur 0.5": blur(others, 0.5),
        "blur 1": blur(others, 1.0),
        "noise 10": noise(others, 10),
        "noise 30": noise(others, 30),
    }
    found = {name: swd(reals, x, seed=0) for name, x in spoiled.items()}
    print({name: [round(v, 2) for v in x.values()] for name, x in found.items()})
    values = {name: average(levels) for name, levels in found.items()}
    assert values["floor"] < values["blur 0.5"] < values["blur 1"]
    assert values["floor"] < values["noise 10"] < values["noise 30"]


def test_fid_768_grows_with_blur_noise_and_compression_from_the_floor(halves):
    extractor = InceptionExtractor(load_inception(WEIGHTS)).at("768")
    count = int(os.environ.get("PROGAN_JAX_TEST_IMAGES", "1024"))

    def statistics(images):
        return statistics_of(extractor(images))

    reals, others = halves[0][:count], halves[1][:count]
    of_reals = statistics(reals)
    spoiled = {
        "floor": others,
        "blur 0.5": blur(others, 0.5),
        "blur 1": blur(others, 1.0),
        "noise 10": noise(others, 10),
        "noise 30": noise(others, 30),
        "jpeg 50": jpeg(others, 50),
        "jpeg 10": jpeg(others, 10),
    }
    values = {n: frechet_distance(of_reals, statistics(x)) for n, x in spoiled.items()}
    print({name: round(value, 3) for name, value in values.items()})
    for mild, strong in (
        ("blur 0.5", "blur 1"),
        ("noise 10", "noise 30"),
        ("jpeg 50", "jpeg 10"),
    ):
        assert values["floor"] < values[mild] < values[strong]
