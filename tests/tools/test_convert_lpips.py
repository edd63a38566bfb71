"""The tool on files that are not the published ones."""

import hashlib

import pytest
from absl.testing import flagsaver

from progan_jax.errors import UserError
from progan_jax.metrics import lpips
from tests.metrics.lpips_state import random_heads, random_vgg16


@pytest.fixture
def convert(import_tool, tmp_path, monkeypatch):
    """Returns a function that runs the tool."""
    monkeypatch.setenv("PROGAN_JAX_CACHE", str(tmp_path / "cache"))
    tool = import_tool("convert_lpips")

    def call(*files, out=None):
        with flagsaver.flagsaver(out=out):
            tool.main(*map(str, files))

    return call


def test_published_files_go_into_the_cache(
    convert, tmp_path, write_pth, monkeypatch, capsys
):
    states = {"vgg16": random_vgg16(), "heads": random_heads()}
    files = [write_pth(tmp_path / f"{n}.pth", state) for n, state in states.items()]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    monkeypatch.setattr(lpips, "SHA256", dict(zip(states, digests, strict=True)))
    convert(*files)
    fingerprint = lpips.load_lpips().fingerprint
    path = tmp_path / "cache" / "lpips-vgg16-v0.1.safetensors"
    expected = f"{path}: lpips-vgg16-v0.1, fingerprint {fingerprint[:8]}\n"
    assert capsys.readouterr().out == expected


def test_a_mistake_is_one_line_and_writes_nothing(convert, tmp_path):
    with pytest.raises(UserError, match=r"--out=.* must end in \.safetensors; rename"):
        convert("a.pth", "b.pth", out=str(tmp_path / "b.pth"))
    with pytest.raises(UserError, match=r"^a\.pth: there is no such file"):
        convert("a.pth", "b.pth")
    assert not (tmp_path / "cache").exists()
