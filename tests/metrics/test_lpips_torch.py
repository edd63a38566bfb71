"""LPIPS against the lpips package with the same random weights, if that is installed.

The package needs PyTorch and torchvision. The weights are random, written by PyTorch in
the form of the published files, and read by our reader.
"""

import hashlib

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")
theirs = pytest.importorskip("lpips")

from progan_jax.metrics import lpips as module  # noqa: E402
from progan_jax.metrics.lpips import convert_lpips, lpips  # noqa: E402
from tests.metrics.lpips_state import random_heads, random_vgg16  # noqa: E402


@pytest.fixture
def weights(tmp_path, monkeypatch):
    digests, files = {}, []
    for name, state in (("vgg16", random_vgg16()), ("heads", random_heads())):
        files.append(tmp_path / f"{name}.pth")
        tensors = {key: torch.tensor(array) for key, array in state.items()}
        torch.save(tensors, files[-1], _use_new_zipfile_serialization=False)
        digests[name] = hashlib.sha256(files[-1].read_bytes()).hexdigest()
    monkeypatch.setattr(module, "SHA256", digests)
    return convert_lpips(*files)


@pytest.mark.filterwarnings("ignore")  # torchvision's own.
@pytest.mark.parametrize("side", [16, 64])
def test_distances_equal_those_of_the_package(weights, side):
    network = theirs.LPIPS(pretrained=False, net="vgg", pnet_rand=True, verbose=False)
    trunk = network.net.state_dict()
    for key in trunk:  # sliceN.PLACE.weight; places are torchvision's.
        trunk[key] = torch.tensor(random_vgg16()["features." + key.split(".", 1)[1]])
    network.net.load_state_dict(trunk)
    heads = {key: torch.tensor(array) for key, array in random_heads().items()}
    network.load_state_dict(heads, strict=False)
    random = np.random.default_rng(side)
    a, b = random.uniform(0, 255, (2, 4, side, side, 3)).astype(np.float32)
    b[1] = a[1] + 0.01 * (b[1] - a[1])  # Near ones, too.
    ours = np.asarray(jax.jit(lpips(weights))(a, b))
    inputs = (torch.tensor(x.transpose(0, 3, 1, 2) / 127.5 - 1) for x in (a, b))
    with torch.no_grad():
        expected = network(*inputs).numpy().ravel()
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
