"""Messages about files of the wrong kind."""

import gzip
import io
import json
import struct
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save

import progan_jax
from progan_jax.errors import UserError
from progan_jax.metrics.inception_weights import read_inception
from progan_jax.metrics.vgg import load_vgg
from progan_jax.weights.kinds import identify
from tests.pickles import dumps, golden_networks, style_networks


def zipped(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/"), data)
    return file.getvalue()


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def pickled(*classes):
    """Returns the beginning of a pickle, as protocol 2 writes it."""
    return b"\x80\x02}X\x01\x00\x00\x00G" + b"".join(
        f"c{name.replace(':', chr(10))}\n".encode() for name in classes
    )


# Name, content, the kind that is reported, and the fix.
FILES = {
    "web page with a byte order mark": (
        *("net.pkl", b"\xef\xbb\xbf<!DOCTYPE html><html>"),
        *("a web page", "download the file that the page links to"),
    ),
    "zeros": ("net.pkl", bytes(5000), "all zeros", "download it again"),
    "h5": ("net.h5", b"\x89HDF\r\n\x1a\n\0\0", "an HDF5 file, such as", "name such a"),
    "png": ("net.pkl", b"\x89PNG\r\n\x1a\n", "an image", "name such a pickle"),
    "jpeg": ("net.pkl", b"\xff\xd8\xff\xe0\0\x10JFIF", "an image", "name such a"),
    "pytorch zip": (
        *("net.pth", zipped(archive__data=b"", **{"archive__data.pkl": b"\x80\x02"})),
        *("a PyTorch file in zip form", "name such a pickle, a run or a snapshot"),
    ),
    "pytorch": (
        *("net.pth", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."),
        *("a PyTorch file", "name such a pickle, a run or a snapshot"),
    ),
    "pickle of a torch module": (
        *("net.pkl", pickled("torch.nn.modules.container:Sequential")),
        *("an object of a PyTorch program", "name such a pickle"),
    ),
    "page": (
        *("net.pkl", b"\n<!DOCTYPE html><html><head><title>Sign in</title>"),
        *("a web page", "download the file that the page links to"),
    ),
    "lfs": (
        *("net.pkl", b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n"),
        *("a git-lfs pointer", "fetch the file with git lfs pull"),
    ),
    "gzip": ("net.pkl", gzip.compress(b"x"), "a gzip archive", "unpack it first"),
    "zip": ("net.pkl", zipped(a=b"b"), "a zip archive", "unpack it first"),
    "cut zip": ("net.pkl", zipped(a=b"b")[:20], "a zip archive that is cut", "downl"),
    "npz": ("net.npz", npz(a=np.ones(2)), "a file of NumPy arrays (.npz)", "name"),
    "empty": ("net.pkl", b"", "empty", "download it again"),
    "tensorflow": (
        *("checkpoint", b'model_checkpoint_path: "model.ckpt-7"\n'),
        *("a part of a TensorFlow checkpoint", "name such a pickle"),
    ),
    "stablehlo": (
        "net.stablehlo",
        b"\1\0\0",
        "an exported program",
        "run it with jax.",
    ),
    "safetensors": (
        *("net.safetensors", save({"a": np.ones(2, np.float32)})),
        *("a safetensors file", "name such a pickle"),
    ),
    "text": ("net.pkl", "Zugriff verweigert für alle\n".encode(), "text", "name such"),
    "protocol 0": ("net.pkl", b"cposix\nsystem\n(S'true'\ntR.", "text", "name such a"),
}


@pytest.mark.parametrize("kind", FILES)
def test_another_file_is_named_by_its_kind_with_a_fix(tmp_path, kind):
    name, content, what, fix = FILES[kind]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        progan_jax.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path} is {what}")
    assert f"; {fix}" in message
    assert "\n" not in message


def test_the_authors_pickles_and_unknown_bytes_are_of_no_other_kind(tmp_path):
    for net in ("fused", "cond"):
        (tmp_path / "net.pkl").write_bytes(dumps(golden_networks(net)))
        assert identify(tmp_path / "net.pkl") is None
    (tmp_path / "net.pkl").write_bytes(bytes(range(256)))
    assert identify(tmp_path / "net.pkl") is None
    assert identify(tmp_path / "none") is None


def test_folders_of_tensorflow_are_named(tmp_path):
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(UserError, match="is a TensorFlow SavedModel, and not a run or"):
        progan_jax.load(tmp_path)


def test_a_pickle_of_stylegans_program_is_read_and_no_file_of_weights(tmp_path):
    path = tmp_path / "net.pkl"
    path.write_bytes(dumps(style_networks("fused")))
    message = f"{path} is a network of StyleGAN's or StyleGAN2's TensorFlow program"
    with pytest.raises(UserError, match=message):
        load_vgg(path)
    assert progan_jax.load(path).info["family"] == "stylegan"
    # One that is cut or asks for other things is not refused for its kind.
    path.write_bytes(pickled("dnnlib.tflib.network:Network"))
    with pytest.raises(UserError, match="is not a complete pickle of arrays"):
        progan_jax.load(path)
    path.write_bytes(pickled("dnnlib.util:EasyDict"))
    with pytest.raises(UserError, match=r"asks for dnnlib\.util\.EasyDict"):
        progan_jax.load(path)


@pytest.mark.parametrize("suffix", ["pth", "npz", "safetensors", "pkl"])
def test_other_files_than_weights_of_metrics_are_named(tmp_path, suffix):
    path = tmp_path / f"weights.{suffix}"
    for content, what in [
        (b"<html>", "a web page"),
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1", "a git-lfs pointer"),
        (zipped(**{"a__data.pkl": b""}), "a PyTorch file in zip form"),
    ]:
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"{path} is {what}"):
            read_inception(path)
        with pytest.raises(UserError, match=f"{path} is {what}"):
            load_vgg(path)


def test_members_that_unpack_to_far_more_than_they_take_are_not_read(tmp_path):
    path = tmp_path / "bomb.npz"
    header = {"descr": "<f4", "fortran_order": False, "shape": (2**26,)}
    text = (str(header) + "\n").encode()
    start = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", start + bytes(2**28))
    assert path.stat().st_size < 2**20
    with pytest.raises(UserError, match="unpacks to more than 4 times its size"):
        read_inception(path)


def test_json_is_text(tmp_path):
    (tmp_path / "net.pkl").write_text(json.dumps({"a": 1}))
    with pytest.raises(UserError, match="is text, and not a pickle"):
        progan_jax.load(tmp_path / "net.pkl")
