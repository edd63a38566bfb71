"""Shows truncation: a row of images for each seed, a column for each psi.

    python -m progan_jax.tools.truncation MODEL [--seeds=0,1,2]
        [--psi=1,0.7,0.5,0,-0.5,-1] [--truncation_cutoff=8]

MODEL is what progan_jax.load takes. psi is the weight of w against its average: 1
leaves images as they are, 0 makes all of them that of the average, and negative numbers
make their opposites. --truncation_cutoff is the number of layers that are truncated; by
default all are. The PNG lies in the folder truncation/ of the run, or of the current
folder if MODEL is not a folder, unless --out names another.
"""

from absl import flags

from progan_jax.display.style_sheets import Sources, truncation_sheet
from progan_jax.inference.load import open_generator
from progan_jax.inference.styles import check_psi
from progan_jax.runtime.command_line import run
from progan_jax.runtime.compiler import keep_compiled
from progan_jax.tools.drawing import find_label, read_seeds, write_picture

SNAPSHOT = flags.DEFINE_string(
    "snapshot", None, 'Name of a snapshot of a run, or "best"; the newest if unset.'
)

SEEDS = flags.DEFINE_string("seeds", "0,1,2", "Seeds of the images.")

PSI = flags.DEFINE_string("psi", "1,0.7,0.5,0,-0.5,-1", "Values of psi.")

CUTOFF = flags.DEFINE_integer(
    "truncation_cutoff", None, "Number of layers that are truncated; all if unset."
)

CLASS = flags.DEFINE_string(
    "class", None, "Class of all images, by number or name; random if unset."
)

NOISE = flags.DEFINE_string(
    "noise", None, "Noise: random, fixed or none; fixed if unset and there is any."
)

OUT = flags.DEFINE_string("out", None, "The PNG to write.")


def main(model: str) -> None:
    """Draws the sheet and writes it."""
    seeds, psis = read_seeds("--seeds", SEEDS.value), read_psis(PSI.value)
    keep_compiled()
    generator = open_generator(model, SNAPSHOT.value, ("MODEL", "--snapshot"))
    generator.check_style_based("truncation")
    cutoff = generator.num_layers if CUTOFF.value is None else CUTOFF.value
    style = generator.read_style(
        None, cutoff, NOISE.value or generator.still_noise, "--"
    )
    sources = Sources(generator, seeds, find_label(generator, CLASS.value))
    picture = truncation_sheet(generator, sources, psis, style)
    name = f"truncation/seeds{'-'.join(map(str, seeds))}"
    done = write_picture(model, generator, name, OUT.value, picture)
    print(f"{done}; psi on {style.truncation_cutoff} layers, {style.noise_in_words}")


def read_psis(text: str) -> list[float]:
    """Reads "1,0.5,-1".

    Raises:
      UserError: if one is no number in [-2, 2].
    """
    psis = []
    for part in text.split(","):
        try:
            psis.append(check_psi("--psi", float(part)))
        except ValueError:
            check_psi("--psi", part)
    return psis


if __name__ == "__main__":
    run(main, "MODEL")
