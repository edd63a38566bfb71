"""The layers' design: the authors' numbers, and networks of full width."""

import math
from dataclasses import replace

import pytest

from progan_jax.models.common import weight_shapes
from progan_jax.models.stylegan_xl.design import design_network
from progan_jax.models.stylegan_xl.generator import Generator
from progan_jax.models.stylegan_xl.options import Options
from tests.stylegan_xl_golden import G_OPTIONS, golden

all_cases = pytest.mark.parametrize("case", G_OPTIONS)

FULL = Options(num_classes=1000)
SMALL = replace(FULL, layers=7, fmap_base=32768, fmap_max=512, head_layers=4)
RESOLUTIONS = (16, 32, 64, 128, 256, 512, 1024)
# By the authors' program: values of the synthesis network.
SYNTHESIS = {
    "full": (
        *(101_214_215, 151_031_815, 200_849_415, 225_180_995),
        *(232_706_662, 234_801_889, 235_437_407),
    ),
    "small": (
        *(18_885_639, 24_130_567, 29_375_495, 31_214_291),
        *(33_399_739, 34_042_016, 34_240_352),
    ),
}
# Values of a head, without the input; sides and widths of its layers.
HEADS = {
    32: (70_273_027, "36_1024 " + "52_1024 " * 5 + "32_1024 32_3"),
    64: (70_273_027, "52_1024 " + "84_1024 " * 5 + "64_1024 64_3"),
    128: (
        44_787_007,
        "84_1024 148_1024 148_861 148_724 148_609 148_512 128_512 128_3",
    ),
    256: (13_531_527, "148_609 276_512 276_431 276_362 276_304 276_256 256_256 256_3"),
    512: (3_805_358, "276_304 532_256 532_215 532_181 532_152 532_128 512_128 512_3"),
    1024: (
        1_168_025,
        "532_152 1044_128 1044_108 1044_91 1044_76 1044_64 1024_64 1024_3",
    ),
}
INPUT = 1024**2 + 2052


def row(layer):
    """Returns a layer's numbers in the order of the golden columns."""
    source, target, (low, high) = layer.source, layer.target, layer.padding
    return [
        *(source.channels, target.channels, source.size, target.size),
        *(source.rate, target.rate, layer.rate, source.cutoff, target.cutoff),
        *(source.half_width, target.half_width, layer.up, layer.down),
        *(layer.up_taps, layer.down_taps, low, high, low, high, layer.kernel_size),
        *(layer.is_torgb, layer.is_critically_sampled),
    ]


def at(resolution, options):
    """Returns the options of the last stage of a chain that doubles from 16."""
    before = [str(r) for r in RESOLUTIONS if r < resolution]
    return replace(options, resolution=resolution, stages=" ".join(before))


def counts(options):
    """Returns the numbers of values of the parameters, by the first parts of paths."""
    sizes = {}
    shapes = weight_shapes(Generator(options.resolution, options))
    for path, shape in shapes.items():
        if path[0] != "stats":
            scope = path[0], path[1]
            sizes[scope] = sizes.get(scope, 0) + math.prod(shape)
    return sizes


@all_cases
def test_layers_have_the_authors_numbers(case):
    theirs = golden()[f"{case}/design"].tolist()
    rows = [row(layer) for layer in design_network(G_OPTIONS[case]).layers]
    assert len(rows) == len(theirs)
    for ours, expected in zip(rows, theirs, strict=True):
        assert ours == pytest.approx(expected[:-1], rel=1e-15, abs=0)
        # Their last column is the use of float16.
        assert len(expected) == len(ours) + 1


@all_cases
def test_layers_have_the_authors_names(case):
    design = design_network(G_OPTIONS[case])
    assert [x.name for x in design.layers] == golden()[f"{case}/layer_names"].tolist()
    assert design.num_kept == (8 if case == "superres" else 0)
    if case == "superres":
        heads = golden()["superres/head_layer_names"].tolist()
        assert [x.name for x in design.head] == heads


@all_cases
def test_the_input_has_the_authors_numbers(case):
    first = design_network(G_OPTIONS[case]).input
    ours = [first.channels, first.size, first.rate, first.cutoff]
    assert ours == golden()[f"{case}/input_design"].tolist()


@pytest.mark.parametrize("resolution", HEADS)
def test_heads_of_full_width_have_the_authors_sizes(resolution):
    design = design_network(at(resolution, FULL))
    names = " ".join(layer.name.partition("_")[2] for layer in design.head)
    assert names == HEADS[resolution][1]
    numbers = [layer.index for layer in design.head]
    assert numbers == list(range(design.num_kept + 1, len(design.layers) + 1))


@pytest.mark.parametrize("recipe", SYNTHESIS)
@pytest.mark.parametrize("stage", range(7))
def test_parameters_are_as_many_as_the_authors(recipe, stage):
    resolution = RESOLUTIONS[stage]
    options = at(resolution, {"full": FULL, "small": SMALL}[recipe])
    sizes = counts(options)
    of = {"mapping": 0, "synthesis": 0}
    for (network, _), size in sizes.items():
        of[network] += size
    assert of == {"mapping": 669_248, "synthesis": SYNTHESIS[recipe][stage]}
    g = Generator(resolution, options)
    assert g.num_layers == len(design_network(options).layers) + 1
    if recipe == "full" and stage:
        assert g.num_layers == 12 + 5 * stage
        trained = sum(n for path, n in sizes.items() if g.is_trained(path))
        assert trained == HEADS[resolution][0] + INPUT


def test_the_papers_last_stage_has_two_layers_less():
    chain = at(1024, FULL)
    before = " ".join(f"{r}:7" for r in chain.stages.split()[1:])
    last = replace(chain, head_layers=5, stages=f"16 {before}")
    assert len(design_network(last).layers) == 39


def test_an_unconditional_mapping_has_no_table():
    sizes = counts(Options())
    mapping = sum(n for (network, _), n in sizes.items() if network == "mapping")
    # The authors' one has the table, and does not use it.
    assert mapping == 615_936 - 1000 * 320


def test_a_stage_that_is_no_number_is_named():
    with pytest.raises(ValueError, match="stages has '32:x'"):
        design_network(Options(resolution=64, stages="16 32:x"))
