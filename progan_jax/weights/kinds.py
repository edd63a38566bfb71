"""Kinds of files by their first bytes, for messages about files of the wrong kind."""

import codecs
import zipfile
from collections.abc import Collection
from pathlib import Path

from progan_jax.errors import UserError

PYTORCH = "a PyTorch file"

PYTORCH_ZIP = "a PyTorch file in zip form"

PERSISTENT = (
    "a network of StyleGAN2-ADA's, StyleGAN3's or StyleGAN-XL's PyTorch program"
)

DNNLIB = "a network of StyleGAN's or StyleGAN2's TensorFlow program"

SAFETENSORS = "a safetensors file"

NPZ = "a file of NumPy arrays (.npz)"

ZIP = "a zip archive"

_HEAD = 4096  # Number of bytes that are read.

_STARTS = {
    b"version https://git-lfs": "a git-lfs pointer",
    b"\x1f\x8b": "a gzip archive",
    # Protocol 2, and the magic number with which each of their files begins.
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19": PYTORCH,
    b"model_checkpoint_path:": "a part of a TensorFlow checkpoint",
    b"\x89HDF\r\n": "an HDF5 file, such as those of Keras",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
}

# Names in the first bytes of pickles.
_MENTIONS = {
    b"torch_utils.persistence": PERSISTENT,
    b"dnnlib": DNNLIB,
    b"torch": "an object of a PyTorch program",
}

PICKLES = frozenset(_MENTIONS.values())

# Where the bytes are no guide.
_SUFFIXES = {
    ".pb": "a TensorFlow graph",
    ".meta": "a part of a TensorFlow checkpoint",
    ".index": "a part of a TensorFlow checkpoint",
    ".stablehlo": "an exported program",
}

_FIXES = {
    "empty": "download it again",
    "all zeros": "download it again",
    "a web page": "download the file that the page links to",
    "a git-lfs pointer": "fetch the file with git lfs pull",
    "a gzip archive": "unpack it first",
    ZIP: "unpack it first",
    "a zip archive that is cut or damaged": "download it again",
    "an exported program": "run it with jax.export, as docs/using.md shows",
}


def check_kind(
    path: Path, wanted: str, fix: str, allowed: Collection[str] = ()
) -> None:
    """Raises UserError if a file is of another known kind.

    Args:
      path: The file, or a folder.
      wanted: What it should be, for the message.
      fix: What to do where the kind itself has no fix.
      allowed: Kinds that pass.
    """
    kind = identify(path)
    if kind is not None and kind not in allowed:
        raise UserError(f"{path} is {kind}, and not {wanted}; {_FIXES.get(kind, fix)}")


def identify(path: Path) -> str | None:
    """Returns the kind of a file or folder; None if it is unknown or unreadable."""
    try:
        if path.is_dir():
            is_saved = (path / "saved_model.pb").exists()
            return "a TensorFlow SavedModel" if is_saved else None
        with path.open("rb") as file:
            head = file.read(_HEAD)
        return _identify_bytes(path, head)
    except OSError:
        return None


def _identify_bytes(path: Path, head: bytes) -> str | None:
    if not head.strip(b"\0"):
        return "all zeros" if head else "empty"
    for start, kind in _STARTS.items():
        if head.startswith(start):
            return kind
    if head.startswith(b"PK\x03\x04"):
        return _identify_zip(path)
    if head.startswith(b"\x80"):
        return next((k for words, k in _MENTIONS.items() if words in head), None)
    text = head.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page"
    # The length of the header, eight bytes, then JSON.
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < 10**8:
        return SAFETENSORS
    return _SUFFIXES.get(path.suffix) or ("text" if _is_text(head) else None)


def _identify_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return "a zip archive that is cut or damaged"
    if any(name.endswith("/data.pkl") for name in names):
        return PYTORCH_ZIP
    return NPZ if names and all(n.endswith(".npy") for n in names) else ZIP


def _is_text(head: bytes) -> bool:
    text = head.decode("utf-8", errors="ignore")
    # A character of up to four bytes may be cut at the end.
    is_utf_8 = len(text.encode()) > len(head) - 4
    return is_utf_8 and all(c.isprintable() or c.isspace() for c in text)
