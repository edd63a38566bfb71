"""Every layer of the Inception graph, against torch-fidelity's with the same weights.

Needs the extra `torch`. The weights are random, written by PyTorch in the form of the
published file and read by our reader.
"""

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch_fidelity = pytest.importorskip("torch_fidelity")

from torch_fidelity.feature_extractor_inceptionv3 import (  # noqa: E402
    FeatureExtractorInceptionV3,
)

from progan_jax.metrics.inception import (  # noqa: E402
    InceptionExtractor,
    resize_tf1,
)
from progan_jax.metrics.inception_graph import (  # noqa: E402
    TAPS,
    InceptionV3,
    parameter_shapes,
)
from progan_jax.metrics.inception_weights import from_torch, torch_names  # noqa: E402
from progan_jax.weights.torch_files import read_pth  # noqa: E402
from progan_jax.weights.weight_files import Weights  # noqa: E402

THEIRS = ("64", "192", "768", "2048", "logits_unbiased")


def make_state():
    """Random weights under which all layers have values of about 1."""
    random = np.random.default_rng(0)
    shapes = parameter_shapes("logits")
    state = {
        "fc.weight": random.normal(size=(1008, 2048)) / np.sqrt(2048),
        "fc.bias": random.normal(size=1008),
    }
    for ours, theirs in torch_names().items():
        height, width, inputs, outputs = shapes[f"{ours}/kernel"]
        scale = np.sqrt(2 / (height * width * inputs))
        kernel = random.normal(scale=scale, size=(outputs, inputs, height, width))
        state |= {
            f"{theirs}.conv.weight": kernel,
            f"{theirs}.bn.weight": random.uniform(0.8, 1.2, outputs),
            f"{theirs}.bn.bias": random.normal(scale=0.1, size=outputs),
            f"{theirs}.bn.running_mean": random.normal(scale=0.1, size=outputs),
            f"{theirs}.bn.running_var": random.uniform(0.7, 1.3, outputs),
            f"{theirs}.bn.num_batches_tracked": np.array(3),
        }
    kept = ("num_batches_tracked",)
    return {
        name: torch.tensor(a, dtype=None if name.endswith(kept) else torch.float32)
        for name, a in state.items()
    }


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Their network, and our weights."""
    path = tmp_path_factory.mktemp("weights") / "a.pth"
    torch.save(make_state(), path, _use_new_zipfile_serialization=False)
    network = FeatureExtractorInceptionV3(
        "inception", list(THEIRS), feature_extractor_weights_path=str(path)
    )
    return network, Weights("w", from_torch(read_pth(path, path.read_bytes()), "a"))


@pytest.fixture(scope="module")
def images():
    random = np.random.default_rng(1)
    return random.integers(0, 256, (2, 48, 48, 3), np.uint8)


def to_torch(images):
    return torch.tensor(images.transpose(0, 3, 1, 2).copy())


def relative(ours, theirs):
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def hook(network, names):
    """Returns a dictionary that the named layers of a run will fill, NHWC."""
    seen, modules = {}, dict(network.named_modules())
    for name in names:

        def keep(module, inputs, output, name=name):
            # A copy: their rectifier works in place.
            seen[name] = output.numpy().transpose(0, 2, 3, 1).copy()

        modules[name].register_forward_hook(keep)
    return seen


@pytest.mark.slow
def test_every_tap_equals_theirs(both, images):
    network, weights = both
    seen = hook(network, ("Mixed_6d.branch1x1", "Mixed_7a"))
    theirs = dict(
        zip(THEIRS, (x.numpy() for x in network(to_torch(images))), strict=True)
    )
    theirs["logits"] = theirs.pop("logits_unbiased")
    theirs["1280"] = seen["Mixed_7a"].mean((1, 2))
    theirs["spatial"] = seen["Mixed_6d.branch1x1"][..., :7].reshape(len(images), -1)
    ours = InceptionExtractor(weights).extract(images, tuple(TAPS))
    differences = {tap: relative(ours[tap], theirs[tap]) for tap in TAPS}
    assert max(differences.values()) < 1e-4, differences


@pytest.mark.slow
def test_every_convolution_equals_theirs(both, images):
    network, weights = both
    seen = hook(network, [f"{theirs}.bn" for theirs in torch_names().values()])
    network(to_torch(images))
    resized = resize_tf1(images, 299)
    run = jax.jit(
        lambda variables, x: InceptionV3().apply(
            variables, x, ("2048",), capture_intermediates=True
        )[1]["intermediates"]
    )
    ours = run(weights.variables(parameter_shapes("2048")), resized)
    differences = {}
    for name, theirs in torch_names().items():
        (output,) = ours[name]["__call__"]
        expected = seen[f"{theirs}.bn"]
        # Layers without padding are computed with it here, and cut.
        if output.shape[1] == expected.shape[1] + 2:
            output = output[:, 1:-1, 1:-1]
        differences[name] = relative(np.asarray(output), expected)
    assert len(differences) == 94
    assert max(differences.values()) < 1e-4, differences


def test_their_resizing_is_ours(images):
    from torch_fidelity.interpolate_compat_tensorflow import (
        interpolate_bilinear_2d_like_tensorflow1x,
    )

    theirs = interpolate_bilinear_2d_like_tensorflow1x(
        to_torch(images).float(), size=(299, 299), align_corners=False
    )
    ours = resize_tf1(images, 299)
    np.testing.assert_allclose(ours, theirs.numpy().transpose(0, 2, 3, 1), atol=1e-3)
