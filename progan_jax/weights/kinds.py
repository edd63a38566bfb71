"""What a file is, by its first bytes, where it is not what it was taken for."""

import codecs
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from progan_jax.errors import UserError


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
      what: In words, as they follow "is".
      fix: What to do with any such file; "" where that depends on what is wanted.
    """

    what: str
    fix: str = ""


PYTORCH = Kind("a PyTorch file")

PYTORCH_ZIP = Kind("a PyTorch file in zip form")

SAFETENSORS = Kind("a safetensors file")

NPZ = Kind("a file of NumPy arrays (.npz)")

_EMPTY = Kind("empty", "download it again")

_PAGE = Kind("a web page", "download the file that the page leads to")

_ZEROS = Kind("nothing but zeros", "download it again")

_TEXT = Kind("text")

_TENSORFLOW = Kind("a part of a TensorFlow checkpoint")

_ONNX = Kind("an ONNX model")

_ZIP, _TAR = (Kind(f"a {name} archive", "unpack it first") for name in ("zip", "tar"))

_HEAD = 4096  # Bytes that are looked at.

_STARTS = {
    b"version https://git-lfs": Kind(
        "a git-lfs pointer in the place of a file", "fetch the file by git lfs pull"
    ),
    b"\x1f\x8b": Kind("a gzip archive", "unpack it first"),
    b"BZh": Kind("a bzip2 archive", "unpack it first"),
    b"\xfd7zXZ\0": Kind("an xz archive", "unpack it first"),
    b"7z\xbc\xaf": Kind("a 7z archive", "unpack it first"),
    b"Rar!": Kind("a rar archive", "unpack it first"),
    b"\x89HDF\r\n": Kind("an HDF5 file, such as those of Keras"),
    b"\x93NUMPY": Kind("a NumPy array"),
    b"\x89PNG": Kind("an image"),
    b"\xff\xd8\xff": Kind("an image"),
    b"GIF8": Kind("an image"),
    b"%PDF": Kind("a PDF document"),
    # Protocol 2, and the number with which each of their files begins.
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19": PYTORCH,
    b"model_checkpoint_path:": _TENSORFLOW,
}

# In the first bytes of pickles.
_MENTIONS = {
    b"torch_utils.persistence": Kind(
        "a network of StyleGAN2-ADA's or StyleGAN3's PyTorch program"
    ),
    b"dnnlib": Kind("a network of StyleGAN's TensorFlow program"),
    b"torch": Kind("an object of a PyTorch program"),
}

# Where the bytes say little.
_SUFFIXES = {
    ".onnx": _ONNX,
    ".pb": Kind("a TensorFlow graph"),
    ".meta": _TENSORFLOW,
    ".index": _TENSORFLOW,
    ".tflite": Kind("a TensorFlow Lite model"),
    ".stablehlo": Kind(
        "an exported program", "run it by jax.export, as docs/using.md shows"
    ),
    ".msgpack": Kind("a file of Flax's serialization"),
}


def check_kind(
    path: Path, wanted: str, fix: str, allowed: Collection[Kind] = ()
) -> None:
    """Raises UserError if a file is one of another known kind.

    Args:
      path: The file, or a folder.
      wanted: What it should be, for the message.
      fix: What to do where the kind itself does not say.
      allowed: Kinds that pass.
    """
    kind = identify(path)
    if kind is not None and kind not in allowed:
        raise UserError(f"{path} is {kind.what}, and not {wanted}; {kind.fix or fix}")


def identify(path: Path) -> Kind | None:
    """Returns what a file or folder is; None if it is unknown or cannot be read."""
    try:
        if path.is_dir():
            return _of_folder(path)
        with path.open("rb") as file:
            head = file.read(_HEAD)
        return _of_bytes(path, head)
    except OSError:
        return None


def _of_folder(path: Path) -> Kind | None:
    if (path / "saved_model.pb").exists():
        return Kind("a TensorFlow SavedModel")
    if (path / "checkpoint").is_file() and any(path.glob("*.index")):
        return Kind("a folder of TensorFlow checkpoints")
    return None


def _of_bytes(path: Path, head: bytes) -> Kind | None:
    if not head.strip(b"\0"):
        return _ZEROS if head else _EMPTY
    for start, kind in _STARTS.items():
        if head.startswith(start):
            return kind
    if head.startswith(b"PK\x03\x04"):
        return _of_zip(path)
    if head.startswith(b"\x80"):
        return next((k for words, k in _MENTIONS.items() if words in head), None)
    text = head.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return _PAGE
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < 10**8:
        return SAFETENSORS
    if head[257:262] == b"ustar":
        return _TAR
    if ".data-0" in path.name:
        return _TENSORFLOW
    return _SUFFIXES.get(path.suffix) or (_TEXT if _is_text(head) else None)


def _of_zip(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return Kind("a zip archive that is cut or damaged", "download it again")
    if any(name.endswith("/data.pkl") for name in names):
        return PYTORCH_ZIP
    return NPZ if names and all(n.endswith(".npy") for n in names) else _ZIP


def _is_text(head: bytes) -> bool:
    # A character may be cut at the end.
    text = head.decode("utf-8", errors="ignore")
    whole = len(text.encode()) > len(head) - 4
    return whole and all(c.isprintable() or c.isspace() for c in text)
