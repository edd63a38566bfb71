"""What the programs do with real images before they train on them."""

import numpy as np

from tests.benchmarks.in_pytorch import STYLE_BASED_GAN, answer, needs_pytorch
from tests.benchmarks.in_pytorch import needs_style_based_gan as needs_checkout

FADED = """
import json, torch, trained_peers
from types import SimpleNamespace
given = []
gan = object.__new__(trained_peers.TrainedGanZoo)
gan._gan = SimpleNamespace(
    config=SimpleNamespace(alpha=0.25), optimizeParameters=given.append
)
gan.step(torch.arange(32.0).reshape(2, 1, 4, 4))
print(json.dumps(given[0].tolist()))
"""
MIRRORED = """
import json, torch, trained_peers
given = []
request = {"widths": [4, 4], "latent_size": 4, "channels": 1}
gan = trained_peers.TrainedStyleBasedGan(request)
gan._gan.step = given.append
gan.step(torch.arange(64.0).reshape(1, 1, 8, 8).repeat(64, 1, 1, 1))
print(json.dumps(given[0][:, 0].tolist()))
"""


@needs_pytorch
def test_gan_zoo_sees_images_that_fade_as_its_networks_do():
    reals = np.arange(32.0).reshape(2, 4, 4)
    means = reals.reshape(2, 2, 2, 2, 2).mean(axis=(2, 4))
    low = np.kron(means, np.ones((1, 2, 2)))
    found = np.asarray(answer(FADED))[:, 0]
    np.testing.assert_allclose(found, 0.25 * low + 0.75 * reals)


@needs_checkout
def test_style_based_gan_sees_half_of_the_images_mirrored():
    image = np.arange(64.0).reshape(8, 8)
    found = np.asarray(answer(MIRRORED, STYLE_BASED_GAN))
    mirrored = (found == image[:, ::-1]).all(axis=(1, 2))
    assert (mirrored | (found == image).all(axis=(1, 2))).all()
    assert 16 < mirrored.sum() < 48
