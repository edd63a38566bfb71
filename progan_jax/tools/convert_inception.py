"""Converts Inception weights into safetensors with our names.

    python -m progan_jax.tools.convert_inception FILE [--out=OUT.safetensors]

FILE is pytorch-fid's pt_inception-2015-12-05-6726825d.pth or a prefix in .npz. Without
--out the result goes into the cache; see docs/metrics.md.
"""

from pathlib import Path

from absl import flags

from progan_jax.errors import UserError
from progan_jax.files import writing_to
from progan_jax.metrics.inception_weights import CONVERTED, highest_tap, read_inception
from progan_jax.runtime.command_line import run
from progan_jax.weights.weight_files import cache_dir, write_weights

OUT = flags.DEFINE_string("out", None, "File to write; in the cache by default.")


def main(file: str) -> None:
    """Reads, checks, writes, and prints which tap the weights reach."""
    out = Path(OUT.value) if OUT.value else cache_dir() / CONVERTED
    if out.suffix != ".safetensors":
        raise UserError(f"--out={out} must end in .safetensors; rename it")
    weights = read_inception(Path(file))
    if not OUT.value and highest_tap(weights) != "logits":
        raise UserError(
            f"--out is missing: {file} ends at tap {highest_tap(weights)}, and the "
            "cache is for complete weights; name a file"
        )
    with writing_to("--out", out):
        write_weights(out, weights)
    print(f"{out}: {weights.name}, up to tap {highest_tap(weights)}")


if __name__ == "__main__":
    run(main, "FILE")
