"""Imports a network of the authors' programs as a snapshot.

    python -m progan_jax.tools.import_official FILE.pkl OUT [--network=Gs] [--lod=L]
    python -m progan_jax.tools.import_official FILE.pkl OUT --with_training_nets

FILE.pkl is a pickle that the program of Progressive GAN, StyleGAN or StyleGAN-XL wrote:
(G, D, Gs), or G, D and G_ema, which is Gs here. It is read as data: no code in it is
run. OUT becomes a snapshot's folder, for progan_jax.load and the tools; snapshot.json
records the networks' licence. A network that had not grown to its final resolution is
imported at the resolution it had reached, or at --lod. StyleGAN-XL's D is not imported.
"""

from pathlib import Path

from absl import flags

from progan_jax.errors import UserError
from progan_jax.files import writing_to
from progan_jax.inference.load import import_snapshot
from progan_jax.models.common import NETWORKS
from progan_jax.runtime.command_line import run

NETWORK = flags.DEFINE_enum(
    "network",
    "Gs",
    list(NETWORKS),
    "Gs, the moving average of the generator, which is the one to sample from; G; or "
    "the discriminator D.",
)

LOD = flags.DEFINE_float("lod", None, "Level of detail; the network's own if unset.")

WITH_TRAINING_NETS = flags.DEFINE_bool(
    "with_training_nets", False, "Import G and D besides Gs, for config.init_from."
)


def main(file: str, out: str) -> None:
    """Writes the snapshot and prints what was imported."""
    folder = Path(out)
    if folder.exists():
        raise UserError(f"OUT={out} already exists; choose another folder")
    if WITH_TRAINING_NETS.value and NETWORK.value != "Gs":
        raise UserError(
            f"--network={NETWORK.value}: --with_training_nets imports all three; "
            "leave one of the flags out"
        )
    kind, all_three = NETWORK.value, WITH_TRAINING_NETS.value
    with writing_to("OUT", out):
        info = import_snapshot(Path(file), folder, kind, LOD.value, all_three)
    side, final = info["stage"]["resolution"], info["options"]["resolution"]
    grown = f", of a final {final}x{final}" if side < final else ""
    licence = info["licence"]["name"]
    taken = " and ".join([kind, *(("G", "D") if all_three else ())])
    print(f"{out}: {taken} of {side}x{side}{grown}; licence {licence}")


if __name__ == "__main__":
    run(main, "FILE", "OUT")
