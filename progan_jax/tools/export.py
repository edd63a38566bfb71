"""Exports a trained generator as a StableHLO program that JAX alone can run.

    python -m progan_jax.tools.export MODEL OUT.stablehlo [--snapshot=best]

MODEL is any source of progan_jax.load: a run, a snapshot, hf://USER/NAME, or a pickle
of the authors' program. The file includes the weights. Its program takes any number of
latents, on a CPU, a CUDA device or a TPU:

    program = jax.export.deserialize(bytearray(open("OUT.stablehlo", "rb").read()))
    images = program.call(z)  # Or call(z, classes), int32, where there are classes.
"""

import hashlib
from pathlib import Path

from absl import flags

from progan_jax.errors import UserError
from progan_jax.files import write_whole, writing_to
from progan_jax.inference.export import PLATFORMS, export_generator
from progan_jax.inference.generator import list_classes, one_line
from progan_jax.inference.load import open_generator
from progan_jax.runtime.command_line import run

SNAPSHOT = flags.DEFINE_string(
    "snapshot", None, 'Name of a snapshot of a run, or "best"; the newest if unset.'
)


def main(model: str, out: str) -> None:
    """Writes the program and prints its inputs, outputs and SHA-256."""
    path = Path(out)
    if path.exists():
        raise UserError(f"OUT={out} already exists; choose another file")
    generator = open_generator(model, SNAPSHOT.value, ("MODEL", "--snapshot"))
    program = export_generator(generator)
    with writing_to("OUT", out):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, program)
    side, channels = generator.resolution, generator.channels
    names = generator.class_names
    classes = ", classes int32 [N]" if generator.num_classes else ""
    classes += f" ({list_classes(names)})" if names else ""
    # The file has no checksum inside, and this package does not read it again.
    summary = (
        f"{out}: latents float32 [N, {generator.latent_dim}]{classes} to images "
        f"float32 [N, {side}, {side}, {channels}], for {', '.join(PLATFORMS)}; "
        f"SHA-256 {hashlib.sha256(program).hexdigest()}"
    )
    licence = generator.info.get("licence")
    print(f"{summary}; licence {one_line(licence['name'])}" if licence else summary)


if __name__ == "__main__":
    run(main, "MODEL", "OUT")
