"""Exports a trained generator as a StableHLO program that JAX alone can run.

    python -m progan_jax.tools.export MODEL OUT.stablehlo [--snapshot=best]

MODEL is any source of progan_jax.load: a run, a snapshot, hf://USER/NAME, or a pickle
of the authors' program. The file includes the weights. Its program takes any number of
latents, on a CPU, a CUDA device or a TPU:

    program = jax.export.deserialize(bytearray(open("OUT.stablehlo", "rb").read()))
    images = program.call(z)  # Or call(z, classes), int32, where there are classes.

Of a StyleGAN there are two, OUT.mapping.stablehlo and OUT.synthesis.stablehlo:

    w = mapping.call(z, psi)  # Or call(z, classes, psi); float32, 1 truncates nothing.
    images = synthesis.call(w, seed)  # uint32; call(w) with --noise=fixed or none.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from absl import flags

from progan_jax.errors import UserError
from progan_jax.files import write_whole, writing_to
from progan_jax.inference.classes import list_classes, one_line
from progan_jax.inference.export import (
    PLATFORMS,
    export_generator,
    export_mapping,
    export_synthesis,
)
from progan_jax.inference.generator import TrainedGenerator
from progan_jax.inference.load import open_generator
from progan_jax.runtime.command_line import run

SNAPSHOT = flags.DEFINE_string(
    "snapshot", None, 'Name of a snapshot of a run, or "best"; the newest if unset.'
)


NOISE = flags.DEFINE_string(
    "noise", None, "Noise of a StyleGAN's images: random (the default), fixed or none."
)


class _Program(NamedTuple):
    """A file to write, what makes its content, and inputs and outputs in words."""

    path: Path
    export: Callable[[], bytes]
    types: str


def main(model: str, out: str) -> None:
    """Writes one program, or two, and prints their inputs, outputs and SHA-256."""
    path = Path(out)
    _check_absent([path])
    generator = open_generator(model, SNAPSHOT.value, ("MODEL", "--snapshot"))
    noise = generator.read_style(noise=NOISE.value, prefix="--").noise
    programs = _one(generator, path) if noise is None else _two(generator, path, noise)
    _check_absent([program.path for program in programs])
    licence = generator.info.get("licence")
    last = f"; licence {one_line(licence['name'])}" if licence else ""
    for program in programs:
        content = program.export()
        with writing_to("OUT", program.path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(program.path, content)
        # A file has no checksum inside, and this package does not read it again.
        digest = hashlib.sha256(content).hexdigest()
        summary = f"{program.path}: {program.types}, for {', '.join(PLATFORMS)}"
        print(f"{summary}; SHA-256 {digest}{last}")


def _check_absent(paths: Sequence[Path]) -> None:
    for path in paths:
        if path.exists():
            raise UserError(f"OUT={path} already exists; choose another file")


def _one(generator: TrainedGenerator, path: Path) -> list[_Program]:
    """Returns the program from latents to images."""
    types = f"{_inputs(generator)} to {_images(generator)}"
    return [_Program(path, partial(export_generator, generator), types)]


def _two(generator: TrainedGenerator, path: Path, noise: str) -> list[_Program]:
    """Returns the programs from latents to styles, and from styles to images."""
    mapping, synthesis = (
        path.with_name(f"{path.stem}.{part}{path.suffix}")
        for part in ("mapping", "synthesis")
    )
    width = generator.network.options.w_size
    styles = f"w float32 [N, {generator.num_layers}, {width}]"
    words = "no" if noise == "none" else noise
    seed = ", seed uint32" if noise == "random" else f" with {words} noise"
    return [
        _Program(
            mapping,
            partial(export_mapping, generator),
            f"{_inputs(generator)}, psi float32 to {styles}",
        ),
        _Program(
            synthesis,
            partial(export_synthesis, generator, noise),
            f"{styles}{seed} to {_images(generator)}",
        ),
    ]


def _inputs(generator: TrainedGenerator) -> str:
    names = generator.class_names
    classes = ", classes int32 [N]" if generator.num_classes else ""
    classes += f" ({list_classes(names)})" if names else ""
    return f"latents float32 [N, {generator.latent_dim}]{classes}"


def _images(generator: TrainedGenerator) -> str:
    side = generator.resolution
    return f"images float32 [N, {side}, {side}, {generator.channels}]"


if __name__ == "__main__":
    run(main, "MODEL", "OUT")
