"""DINOv2's features, against a transformer in NumPy, and its files."""

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from scipy.special import erf

from progan_jax.data.pyramid import build_pyramid
from progan_jax.errors import MissingWeightsError, UserError
from progan_jax.metrics import dinov2
from progan_jax.metrics.dinov2 import KIND, MODELS, Model, resize
from progan_jax.metrics.extractor import Extractor
from progan_jax.metrics.image_sources import Reals
from progan_jax.metrics.measure import MeasureOptions, Measurer
from progan_jax.models.transformer import VisionTransformer, timm_shapes

WIDTH, DEPTH = 64, 2

TINY = VisionTransformer(
    WIDTH, 14, 224, False, layer_scale=True, stored_tokens=16, depth=DEPTH
)


@pytest.fixture
def tiny(monkeypatch):
    """A model of two narrow blocks in place of the published ones."""
    monkeypatch.setattr(dinov2, "MODELS", {WIDTH: Model("tiny", "vit_tiny", TINY)})


def make_arrays(**changed):
    random = np.random.default_rng(0)
    arrays = {}
    for name, shape in timm_shapes(TINY, classifier=True).items():
        scale = 1 / np.sqrt(np.prod(shape[1:])) if len(shape) in (2, 4) else 0.3
        offset = float(name.endswith(("norm1.weight", "norm2.weight", "norm.weight")))
        arrays[name] = (offset + scale * random.standard_normal(shape)).astype("f4")
    return arrays | changed


@pytest.fixture
def file(tmp_path):
    # timm's files have more arrays than are used.
    save_file(
        make_arrays(mask_token=np.zeros((1, WIDTH), "f4")), tmp_path / "x.safetensors"
    )
    return str(tmp_path / "x.safetensors")


def norm(x, arrays, name):
    centred = x - x.mean(axis=-1, keepdims=True)
    x = centred / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-6)
    return x * arrays[f"{name}.weight"] + arrays[f"{name}.bias"]


def dense(x, arrays, name):
    return x @ arrays[f"{name}.weight"].T + arrays[f"{name}.bias"]


def token_by_numpy(image, arrays):
    """Returns the class token of one image [224, 224, 3] in 0..255, in float64."""
    arrays = {name: array.astype(np.float64) for name, array in arrays.items()}
    x = (image / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    tokens = [arrays["cls_token"][0, 0]]
    for row in range(0, 224, 14):
        for column in range(0, 224, 14):
            patch = x[row : row + 14, column : column + 14].transpose(2, 0, 1)
            kernel = arrays["patch_embed.proj.weight"]
            tokens.append(
                np.tensordot(kernel, patch, 3) + arrays["patch_embed.proj.bias"]
            )
    x = np.stack(tokens) + arrays["pos_embed"][0]
    for index in range(DEPTH):
        block = f"blocks.{index}"
        qkv = dense(norm(x, arrays, f"{block}.norm1"), arrays, f"{block}.attn.qkv")
        q, k, v = np.split(qkv, 3, axis=1)  # One head of 64.
        weights = np.exp(q @ k.T / 8)
        mixed = weights / weights.sum(axis=1, keepdims=True) @ v
        mixed = dense(mixed, arrays, f"{block}.attn.proj")
        x = x + mixed * arrays[f"{block}.ls1.gamma"]
        y = dense(norm(x, arrays, f"{block}.norm2"), arrays, f"{block}.mlp.fc1")
        y = dense(y * (1 + erf(y / np.sqrt(2))) / 2, arrays, f"{block}.mlp.fc2")
        x = x + y * arrays[f"{block}.ls2.gamma"]
    return norm(x, arrays, "norm")[0]


def make_images(n, side, channels=3):
    random = np.random.default_rng(side)
    return random.integers(0, 256, (n, side, side, channels), np.uint8)


def test_features_are_the_class_tokens_after_the_last_norm(tiny, file):
    images = make_images(2, 224)
    features = Extractor(KIND, file).extract(images, ("cls",))["cls"]
    assert features.dtype == np.float32
    expected = np.stack([token_by_numpy(image, make_arrays()) for image in images])
    np.testing.assert_allclose(features, expected, atol=2e-5)


def test_images_of_any_size_are_resized_by_pillow_and_grey_is_taken_as_rgb(tiny, file):
    extract = Extractor(KIND, file).extract
    small, grey = make_images(1, 32), make_images(1, 32, 1)
    picture = Image.fromarray(small[0]).resize((224, 224), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(resize(small)[0], np.asarray(picture))
    pairs = (small, np.asarray(picture)[None]), (grey, grey.repeat(3, axis=3))
    for a, b in pairs:
        found, expected = (extract(x, ("cls",))["cls"] for x in (a, b))
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_published_models_have_their_sizes():
    sizes = {"s": 22_056_192, "b": 86_579_712, "l": 304_367_616}
    for model in MODELS.values():
        shapes = timm_shapes(model.network, classifier=True)
        count = sum(int(np.prod(shape)) for shape in shapes.values())
        assert count == sizes[model.name[-3]]
        assert model.network.tokens == 16


def test_the_distance_records_model_and_weights(tiny, file, tmp_path, monkeypatch):
    monkeypatch.setenv("PROGAN_JAX_CACHE", str(tmp_path))
    pyramid = build_pyramid("noise", make_images(160, 16), None, 0)
    reals = Reals(pyramid, 16, seed=3, mirror=False)
    options = MeasureOptions(("fd_dinov2",), num_images=80, dinov2_weights=file)
    measurer = Measurer(reals, options)
    values = measurer.measure("fd_dinov2", reals, 80)
    assert values == {"fd_dinov2": pytest.approx(0, abs=1e-6)}
    other = Reals(pyramid, 16, seed=3, mirror=False, skip=80)
    assert measurer.measure("fd_dinov2", other, 80)["fd_dinov2"] > 0.01
    settings = measurer.settings("fd_dinov2")
    assert settings["features"] == "tiny/cls" and settings["resize"] == "pillow"
    assert len(settings["weights"]) == 64
    save_file(make_arrays(cls_token=np.ones((1, 1, WIDTH), "f4")), file)
    assert (
        Measurer(reals, options).settings("fd_dinov2")["weights"] != settings["weights"]
    )


def test_without_weights_one_line_says_which():
    with pytest.raises(MissingWeightsError) as caught:
        Extractor(KIND, "")
    assert "vit_small_patch14_dinov2" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"head": np.zeros(3, "f4")}, "has no cls_token of one of the widths 64;"),
        ({"cls_token": np.zeros((1, 1, 100), "f4")}, "has no cls_token of one of"),
        ({"cls_token": np.zeros((1, 1, 64), "f4")}, "lacks blocks.0.attn.proj.bias"),
        (make_arrays(pos_embed=np.zeros((1, 50, 64), "f4")), "pos_embed is"),
    ],
)
def test_files_of_other_networks_are_refused_in_one_line(
    tiny, tmp_path, arrays, message
):
    path = tmp_path / "other.safetensors"
    save_file(arrays, path)
    with pytest.raises(UserError, match=message) as caught:
        Extractor(KIND, str(path))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_named_and_missing_is_a_plain_mistake(tmp_path):
    with pytest.raises(UserError) as caught:
        Extractor(KIND, str(tmp_path / "none.safetensors"))
    assert not isinstance(caught.value, MissingWeightsError)
