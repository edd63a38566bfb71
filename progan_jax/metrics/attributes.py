"""Classifiers of attributes that the user provides, as exported programs.

A folder has a file NAME.stablehlo for each attribute: what `jax.export` serialises of a
function from images, float32 [n, s, s, C] in [-1, 1] for any n, to one logit for each,
[n]; it is 0 or more where the first of the two classes is the likelier one. All
programs of a folder take images of the same shape.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from progan_jax.errors import MissingWeightsError, UserError, reason

SUFFIX = ".stablehlo"


@dataclass(frozen=True)
class Attributes:
    """Classifiers of two classes each.

    Attributes:
      names: Names of the attributes.
      programs: A program for each.
      side: Side of the images that they take.
      channels: 1 (grey) or 3 (RGB).
      digest: SHA-256 of their files.
    """

    names: tuple[str, ...]
    programs: tuple[export.Exported, ...]
    side: int
    channels: int
    digest: str

    def __str__(self) -> str:
        """Returns the description that accompanies a value."""
        count = len(self.names)
        return f"{count} of {self.side}x{self.side}, {self.digest[:8]}"

    def logits(self, images: jax.Array) -> jax.Array:
        """Returns [n, attributes] of float32 images [n, side, side, channels]."""
        return jnp.stack([program.call(images) for program in self.programs], axis=1)


def read_attributes(folder: str) -> Attributes:
    """Reads the programs of a folder, in the order of their names.

    Raises:
      MissingWeightsError: if no folder is named.
      UserError: if it has none, or one cannot be read or is of another form.
    """
    files = sorted(Path(folder).glob(f"*{SUFFIX}")) if folder else []
    if not files:
        kind = UserError if folder else MissingWeightsError
        raise kind(
            f"there is no attribute's classifier in {folder or 'it'}; name a folder of "
            f"exported programs NAME{SUFFIX}, images in, logits out (see "
            "docs/metrics.md)"
        )
    digest, programs = hashlib.sha256(), []
    for path in files:
        data = path.read_bytes()
        digest.update(hashlib.sha256(data).digest())
        programs.append(_open(path, data))
    shapes = [_shape(path, of) for path, of in zip(files, programs, strict=True)]
    for path, shape in zip(files, shapes, strict=True):
        if shape != shapes[0]:
            raise UserError(
                f"{path} takes images {list(shape)} and {files[0].name} takes "
                f"{list(shapes[0])}; export all of them for one shape"
            )
    side, channels = shapes[0]
    names = tuple(path.stem for path in files)
    return Attributes(names, tuple(programs), side, channels, digest.hexdigest())


def _open(path: Path, data: bytes) -> export.Exported:
    try:
        return export.deserialize(bytearray(data))
    except Exception as error:  # Damaged bytes fail in any operation.
        raise UserError(
            f"{path} is not a program of jax.export ({reason(error)}); export it again"
        ) from error


def _shape(path: Path, program: export.Exported) -> tuple[int, int]:
    """Returns side and channels of the images that a program takes."""
    ins: Any = [aval.shape for aval in program.in_avals]
    outs: Any = [aval.shape for aval in program.out_avals]
    images = ins[0] if len(ins) == 1 else ()
    if (
        len(images) != 4
        or outs != [images[:1]]
        or type(images[0]) is int
        or images[1] != images[2]
        or images[3] not in (1, 3)
        or program.in_avals[0].dtype != jnp.float32
    ):
        raise UserError(
            f"{path} maps {', '.join(map(str, ins))} to {', '.join(map(str, outs))}; "
            "it must map float32 (n, s, s, 1 or 3) to (n,), with n symbolic"
        )
    return images[1], images[3]
