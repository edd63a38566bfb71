"""Sizes of StyleGAN's networks in full width, from shapes alone."""

import math

import pytest

from progan_jax.models.common import weight_shapes
from progan_jax.models.stylegan.networks import make_networks
from progan_jax.models.stylegan.options import Options

MAPPING = 2_101_248
# By resolution: synthesis, discriminator, values of the fixed noise. The generator of
# 1024x1024 has 26,219,627 by the authors' README.
COUNTS = {
    32: (20_740_108, 20_726_785, 2_720),
    64: (23_036_687, 22_498_049, 10_912),
    128: (23_742_610, 22_941_313, 43_680),
    256: (23_984_981, 23_052_353, 174_752),
    512: (24_078_520, 23_080_225, 699_040),
    1024: (24_118_379, 23_087_249, 2_796_192),
}


def counts(resolution, num_classes):
    """Returns the numbers of values: mapping, synthesis, D, noise."""
    options = Options(resolution=resolution, num_classes=num_classes)
    g, d = (weight_shapes(n) for n in make_networks(options, resolution))
    sizes = dict.fromkeys(("mapping", "synthesis", "noise", "w_average"), 0)
    for path, shape in g.items():
        name = path[-1] if path[0] == "stats" else path[0]
        sizes[name] += math.prod(shape)
    assert sizes["w_average"] == 512
    of_d = sum(math.prod(shape) for shape in d.values())
    return sizes["mapping"], sizes["synthesis"], of_d, sizes["noise"]


@pytest.mark.parametrize("resolution", COUNTS)
def test_parameters_without_labels_are_as_many_as_the_authors(resolution):
    synthesis, d, noise = COUNTS[resolution]
    assert counts(resolution, 0) == (MAPPING, synthesis, d, noise)
    if resolution == 1024:
        assert MAPPING + synthesis == 26_219_627


@pytest.mark.parametrize("resolution", COUNTS)
def test_labels_widen_the_first_dense_layer_and_the_last(resolution):
    synthesis, d, noise = COUNTS[resolution]
    mapping = MAPPING + 512 * 10 + 512 * 512
    assert counts(resolution, 10) == (mapping, synthesis, d + 513 * 9, noise)
