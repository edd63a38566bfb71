"""Shows a StyleGAN's noise: images of one w under several draws.

    python -m progan_jax.tools.noise MODEL [--seeds=0,1] [--shown=4] [--draws=100]

MODEL is what progan_jax.load takes. Each row of the sheet has the first image of a
seed, that of its parts which noise changes most under several draws, enlarged, and the
standard deviation of each pixel over all draws, white where it is largest. Beside the
seed stands that largest value, of pixels in [-1, 1]. Images below 64x64 are shown
whole. By default the PNG lies in the folder noise/ of the run, or of the current folder
if MODEL is not a folder.
"""

from absl import flags

from progan_jax.display.noise_sheet import noise_sheet
from progan_jax.display.style_sheets import Sources
from progan_jax.errors import UserError
from progan_jax.inference.load import open_generator
from progan_jax.runtime.command_line import run
from progan_jax.runtime.compiler import keep_compiled
from progan_jax.tools.drawing import PsiParser, find_label, read_seeds, write_picture

SNAPSHOT = flags.DEFINE_string(
    "snapshot", None, 'Name of a snapshot of a run, or "best"; the newest if unset.'
)

SEEDS = flags.DEFINE_string("seeds", "0,1", "Seeds of the images.")

SHOWN = flags.DEFINE_integer(
    "shown", 4, "Draws that are shown.", lower_bound=1, upper_bound=16
)

DRAWS = flags.DEFINE_integer(
    "draws", 100, "Draws of the deviation.", lower_bound=2, upper_bound=100_000
)

CLASS = flags.DEFINE_string(
    "class", None, "Class of all images, by number or name; random if unset."
)

PSI = flags.DEFINE(
    PsiParser(),
    "truncation_psi",
    None,
    "Weight of w against its average; the model's if unset.",
)

CUTOFF = flags.DEFINE_integer(
    "truncation_cutoff", None, "Number of layers that it applies to; the model's."
)

OUT = flags.DEFINE_string("out", None, "The PNG to write.")


def main(model: str) -> None:
    """Draws the sheet and writes it."""
    seeds = read_seeds("--seeds", SEEDS.value)
    keep_compiled()
    generator = open_generator(model, SNAPSHOT.value, ("MODEL", "--snapshot"))
    generator.check_style_based("noise")
    if generator.still_noise == "none":
        model = generator.family.PAPER.model
        raise UserError(f"this generator is a {model}, which has no noise to show")
    style = generator.read_style(PSI.value, CUTOFF.value, prefix="--")
    sources = Sources(generator, seeds, find_label(generator, CLASS.value))
    draws = max(DRAWS.value, SHOWN.value)
    picture = noise_sheet(generator, sources, SHOWN.value, draws, style)
    name = f"noise/seeds{'-'.join(map(str, seeds))}"
    done = write_picture(model, generator, name, OUT.value, picture)
    print(f"{done}; {style}")


if __name__ == "__main__":
    run(main, "MODEL")
