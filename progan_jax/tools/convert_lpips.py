"""Converts the published weights of LPIPS into one safetensors file.

    python -m progan_jax.tools.convert_lpips VGG16 HEADS [--out=OUT.safetensors]

VGG16 is torchvision's vgg16-397923af.pth; HEADS is weights/v0.1/vgg.pth of the PyPI
package lpips. Both must have the published SHA-256. Without --out the result goes into
the cache, where perceptual path lengths and projections look for it; see
docs/metrics.md.
"""

from pathlib import Path

from absl import flags

from progan_jax.errors import UserError
from progan_jax.files import writing_to
from progan_jax.metrics.lpips import CONVERTED, convert_lpips
from progan_jax.runtime.command_line import run
from progan_jax.weights.weight_files import cache_dir, write_weights

OUT = flags.DEFINE_string("out", None, "File to write; in the cache by default.")


def main(vgg16: str, heads: str) -> None:
    """Reads, checks and writes."""
    out = Path(OUT.value) if OUT.value else cache_dir() / CONVERTED
    if out.suffix != ".safetensors":
        raise UserError(f"--out={out} must end in .safetensors; rename it")
    weights = convert_lpips(Path(vgg16), Path(heads))
    with writing_to("--out", out):
        write_weights(out, weights)
    print(f"{out}: {weights.name}, fingerprint {weights.fingerprint[:8]}")


if __name__ == "__main__":
    run(main, "VGG16", "HEADS")
