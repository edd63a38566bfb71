"""Mixes the styles of a StyleGAN's images: row seeds with column seeds.

    python -m progan_jax.tools.style_mix MODEL [--rows=0,1] [--columns=2,3,4,5]
        [--layers=coarse,middle,fine]

MODEL is what progan_jax.load takes. The sheet has the images A of the row seeds at the
left, the images B of the column seeds at the top, and a section for each range of
layers: images of A whose layers in the range have the styles of B. Ranges are coarse,
middle, fine, or first-last, as 4-7. By default the PNG lies in the folder mixes/ of the
run, or of the current folder if MODEL is not a folder.
"""

from absl import flags

from progan_jax.display.style_sheets import Sources, mixing_sheet
from progan_jax.inference.load import open_generator
from progan_jax.inference.styles import layer_ranges, read_layers
from progan_jax.runtime.command_line import run
from progan_jax.runtime.compiler import keep_compiled
from progan_jax.tools.drawing import PsiParser, find_label, read_seeds, write_picture

SNAPSHOT = flags.DEFINE_string(
    "snapshot", None, 'Name of a snapshot of a run, or "best"; the newest if unset.'
)

ROWS = flags.DEFINE_string("rows", "0,1", "Seeds of the images A.")

COLUMNS = flags.DEFINE_string("columns", "2,3,4,5", "Seeds of the images B.")

LAYERS = flags.DEFINE_string(
    "layers", "coarse,middle,fine", "Ranges of layers, as in coarse,4-7."
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

NOISE = flags.DEFINE_string(
    "noise", None, "Noise: random, fixed or none; fixed if unset and there is any."
)

OUT = flags.DEFINE_string("out", None, "The PNG to write.")


def main(model: str) -> None:
    """Draws the sheet and writes it."""
    seeds = read_seeds("--rows", ROWS.value), read_seeds("--columns", COLUMNS.value)
    keep_compiled()
    generator = open_generator(model, SNAPSHOT.value, ("MODEL", "--snapshot"))
    generator.check_style_based("style_mix")
    style = generator.read_style(
        PSI.value, CUTOFF.value, NOISE.value or generator.still_noise, "--"
    )
    layers = read_ranges(LAYERS.value, generator.num_layers)
    label = find_label(generator, CLASS.value)
    rows, columns = (Sources(generator, part, label) for part in seeds)
    picture = mixing_sheet(generator, rows, columns, layers, style)
    name = "_".join(["-".join(map(str, part)) for part in seeds])
    name = f"seeds{name}" + (f"_class{label}" if label is not None else "")
    if LAYERS.value != LAYERS.default:
        name += "_layers" + LAYERS.value.replace(",", "+")
    done = write_picture(model, generator, f"mixes/{name}", OUT.value, picture)
    print(f"{done}; {style}")


def read_ranges(text: str, num_layers: int) -> list[tuple[str, list[int]]]:
    """Returns headings of the sheet, as "Coarse styles" or "Styles", and their layers.

    Raises:
      UserError: if a layer is out of range, or there is none.
    """
    names, found = layer_ranges(num_layers), []
    default = text == LAYERS.default
    for part in text.split(","):
        if default and not names[part]:
            continue  # Small generators have no middle layers.
        heading = f"{part.capitalize()} styles" if part in names else "Styles"
        found.append((heading, read_layers("--layers", part, num_layers)))
    return found


if __name__ == "__main__":
    run(main, "MODEL")
