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
    convolution_names,
)
from progan_jax.metrics.inception_weights import from_torch  # noqa: E402
from progan_jax.weights.torch_files import read_pth  # noqa: E402
from progan_jax.weights.weight_files import Weights  # noqa: E402
from tests.metrics.torch_inception import NAMES, random_state  # noqa: E402

THEIRS = ("64", "192", "768", "2048", "logits_unbiased")


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Their network, and our weights."""
    path = tmp_path_factory.mktemp("weights") / "a.pth"
    state = {name: torch.tensor(array) for name, array in random_state().items()}
    torch.save(state, path, _use_new_zipfile_serialization=False)
    network = FeatureExtractorInceptionV3(
        "inception", list(THEIRS), feature_extractor_weights_path=str(path)
    )
    return network, Weights("w", from_torch(read_pth(path), "a"))


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
    seen = hook(network, [f"{theirs}.bn" for theirs in NAMES])
    network(to_torch(images))
    resized = resize_tf1(images, 299)
    run = jax.jit(
        lambda variables, x: InceptionV3(("2048",)).apply(
            variables, x, capture_intermediates=True
        )[1]["intermediates"]
    )
    ours = run(weights.variables(), resized)
    differences = {}
    for name, theirs in zip(convolution_names(), NAMES, strict=True):
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
