"""The convolutions of the training steps, as lowered for GPUs on any machine.

cuDNN has three: forward, the gradient of the image and that of the kernel. XLA takes a
convolution for one of the gradients only in the forms below. In any other form it
writes out the zeros of a dilation, or runs a kernel as large as the image.
"""

import re
from collections import Counter

import jax
import pytest

from progan_jax.runtime.mesh import make_mesh
from progan_jax.training.config import make_schedule
from progan_jax.training.stage import StageProgram

_LARGEST_KERNEL = 4
_NUMBERS = re.compile(r"\[([^]]*)\]x\[([^]]*)\]->\[[^]]*\]")


def lower(config, resolution, platform):
    config.model.resolution = resolution
    config.model.fmap_base, config.model.fmap_max = 512, 4
    mesh = make_mesh(jax.devices()[:1])
    program = StageProgram(config, make_schedule(config), resolution, mesh)
    shape = (100, resolution, resolution, config.model.channels)
    return program.lower(shape, platform)


def operations(operation):
    yield operation
    for region in operation.regions:
        for block in region.blocks:
            for inner in block.operations:
                yield from operations(inner.operation)


def convolutions(lowered):
    module = lowered.compiler_ir().operation
    return [each for each in operations(module) if each.name == "stablehlo.convolution"]


def kind(convolution):
    """Returns which of cuDNN's a convolution is; None if it is none of them."""
    attributes = convolution.attributes
    image, kernel = (
        names.split(", ")
        for names in _NUMBERS.search(str(attributes["dimension_numbers"])).groups()
    )
    shape = convolution.operands[1].type.shape
    small = all(shape[kernel.index(axis)] <= _LARGEST_KERNEL for axis in "01")
    strides, spread, gaps = (
        set(attributes[name]) if name in attributes else {1}
        for name in ("window_strides", "lhs_dilation", "rhs_dilation")
    )
    if spread == {1} and image[0] == "f" and kernel[0] == "i":  # Sums over the batch.
        return "gradient of the kernel"
    if spread == gaps == {1} and small:
        return "forward"
    maker = getattr(convolution.operands[1].owner, "name", "")  # "" for an argument.
    reverses = maker == "stablehlo.reverse"
    if strides == gaps == {1} and small and reverses:
        return "gradient of the image"
    return None


def place(convolution):
    shapes = [str(operand.type) for operand in convolution.operands]
    return shapes, re.findall(r'(\w+\.py":\d+)', str(convolution.location))[:4]


KINDS = "forward", "gradient of the image", "gradient of the kernel"


def test_lengths_of_phases_and_of_the_run_are_no_part_of_a_program(tiny_config):
    """So that runs of other lengths may share it, as they do in these tests."""
    one = lower(tiny_config, 8, "cpu").as_text()
    tiny_config.schedule.stabilise_kimg, tiny_config.schedule.fade_kimg = "3", "5"
    tiny_config.schedule.total_kimg = 70.0
    assert lower(tiny_config, 8, "cpu").as_text() == one
    tiny_config.schedule.batch_size = "16"
    assert lower(tiny_config, 8, "cpu").as_text() != one


def check(found):
    """Asserts that convolutions are of the three kinds, and some of each."""
    kinds = [kind(each) for each in found]
    assert not [place(c) for c, k in zip(found, kinds, strict=True) if k is None]
    assert min(Counter(kinds)[k] for k in KINDS) > 1


@pytest.mark.parametrize("resolution", [8, 32, 256])
@pytest.mark.parametrize(
    ("topology", "fused"), [("progan", False), ("progan", True), ("mode_test", False)]
)
def test_gpus_get_convolutions_of_the_three_kinds_that_cudnn_has(
    tiny_config, topology, fused, resolution
):
    tiny_config.model.topology = topology
    tiny_config.model.fused_resampling = fused
    check(convolutions(lower(tiny_config, resolution, "cuda")))


@pytest.mark.parametrize(
    "change",
    [
        {"model.dtype": "bfloat16"},
        {"optim.simultaneous": True},
        {"model.remat": "blocks"},
    ],
    ids=str,
)
def test_so_do_other_types_and_steps(tiny_config, change):
    tiny_config.model.fused_resampling = True
    tiny_config.update_from_flattened_dict(change)
    check(convolutions(lower(tiny_config, 16, "cuda")))


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs a GPU")
def test_xla_calls_cudnn_for_all_of_them(tiny_config):
    compiled = lower(tiny_config, 32, None).compile().as_text()
    calls = Counter(re.findall(r"__cudnn\$(conv\w+)", compiled))
    assert calls["convForward"] + calls["convBiasActivationForward"] > 1
    assert min(calls["convBackwardInput"], calls["convBackwardFilter"]) > 1
    # What is left of other forms would be plain convolutions.
    assert not re.findall(r" convolution\(", compiled)


# 256x256 has more blocks, but no other ones: its layers are the same at all sizes.
@pytest.mark.parametrize(
    "resolution", [8, 32, pytest.param(256, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("kind_of_loss", ["nonsaturating", "wgan_gp"])
def test_gpus_get_such_convolutions_of_stylegan_too(
    tiny_stylegan, kind_of_loss, resolution
):
    tiny_stylegan.loss.kind = kind_of_loss
    found = convolutions(lower(tiny_stylegan, resolution, "cuda"))
    kinds = [kind(each) for each in found]
    assert not [place(c) for c, k in zip(found, kinds, strict=True) if k is None]
    assert min(Counter(kinds)[k] for k in ("forward", "gradient of the kernel")) > 4
    # The blur is of shifted sums, not a convolution of each map by itself.
    groups = [str(each.attributes["feature_group_count"]) for each in found]
    assert {group.split()[0] for group in groups} == {"1"}


def test_a_convolution_in_another_form_is_found():
    """The gradients of a dilated convolution, as JAX writes them."""

    def dilated(x, kernel):
        numbers = ("NHWC", "HWIO", "NHWC")
        padding = ((2, 2), (2, 2))
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), padding, (2, 2), dimension_numbers=numbers
        )

    def loss(x, kernel):
        return (dilated(x, kernel) ** 2).sum()

    shapes = [jax.ShapeDtypeStruct(s, "float32") for s in ((2, 8, 8, 3), (4, 4, 3, 5))]
    traced = jax.jit(jax.grad(loss, argnums=(0, 1))).trace(*shapes)
    found = convolutions(traced.lower(lowering_platforms=("cuda",)))
    # Forward; the gradient of x is a strided convolution; that of the kernel.
    assert sorted(map(str, map(kind, found))) == ["None", "None", "forward"]
