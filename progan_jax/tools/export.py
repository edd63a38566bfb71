"""Exports a trained generator as a StableHLO program that JAX alone can run.

    python -m progan_jax.tools.export MODEL OUT.stablehlo [--snapshot=best]

MODEL is what progan_jax.load takes: a run, a snapshot, hf://USER/NAME, or a pickle of
the authors' program. OUT holds the weights, too, and takes any number of latents on a
CPU, a CUDA device or a TPU:

    program = jax.export.deserialize(bytearray(open("OUT.stablehlo", "rb").read()))
    images = program.call(z)  # Or call(z, classes), int32, where there are classes.
"""

import hashlib
from pathlib import Path

from absl import flags

from progan_jax.errors import UserError
from progan_jax.files import write_whole
from progan_jax.inference.export import PLATFORMS, export_generator
from progan_jax.inference.generator import list_classes, one_line
from progan_jax.inference.load import open_generator
from progan_jax.runtime.command_line import run_with_arguments

SNAPSHOT = flags.DEFINE_string(
    "snapshot", None, 'Name of a snapshot of a run, or "best"; the newest if unset.'
)


def main(model: str, out: str) -> None:
    """Opens, exports, writes, and tells what the program takes."""
    path = Path(out)
    if path.exists():
        raise UserError(f"OUT={out} is there already; name a file that is not")
    generator = open_generator(model, SNAPSHOT.value, ("MODEL", "--snapshot"))
    program = export_generator(generator)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, program)
    except OSError as error:
        raise UserError(f"OUT={out}: {error}; choose another file") from error
    side, channels = generator.resolution, generator.channels
    names = generator.class_names
    classes = ", classes int32 [N]" if generator.num_classes else ""
    classes += f" ({list_classes(names)})" if names else ""
    told = (
        f"{out}: latents float32 [N, {generator.latent_dim}]{classes} to images "
        f"float32 [N, {side}, {side}, {channels}], for {', '.join(PLATFORMS)}"
    )
    # There is no checksum inside, and nothing of this package reads it again.
    told += f"; SHA-256 {hashlib.sha256(program).hexdigest()}"
    licence = generator.info.get("licence")
    print(f"{told}; licence {one_line(licence['name'])}" if licence else told)


if __name__ == "__main__":
    run_with_arguments(main, "MODEL", "OUT")
