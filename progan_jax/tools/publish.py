"""Publishes a snapshot's generator: a folder in the Hugging Face Hub's layout.

    python -m progan_jax.tools.publish MODEL OUT --licence=ID [--snapshot=best]
    python -m progan_jax.tools.publish MODEL hf://USER/NAME --licence=ID

MODEL is any source of progan_jax.load: a run, of which the newest snapshot is taken, a
snapshot, hf://USER/NAME, a pickle of the authors' program, or a network that ships with
this package. OUT becomes a snapshot's folder with a model card (README.md) and samples,
or a zip file of it if its name ends in .zip; hf://USER/NAME is a repository of the Hub,
which is created if it does not exist. ID is the Hub's identifier of a licence, such as
cc-by-4.0. Networks that already have a licence, as the authors' do, keep it.
--with_training_nets also publishes G and D, for config.init_from.
"""

from absl import flags

from progan_jax.files import writing_to
from progan_jax.inference.classes import one_line
from progan_jax.inference.load import snapshot_folder
from progan_jax.inference.publish import settle_licence
from progan_jax.inference.snapshot import digest, read_info
from progan_jax.publication import publish
from progan_jax.runtime.command_line import run
from progan_jax.runtime.compiler import keep_compiled

LICENCE = flags.DEFINE_string("licence", None, "The Hub's identifier of the licence.")

SNAPSHOT = flags.DEFINE_string(
    "snapshot", None, 'Name of a snapshot of a run, or "best"; the newest if unset.'
)

WITH_TRAINING_NETS = flags.DEFINE_bool(
    "with_training_nets", False, "Publish G and D in training as well."
)


def main(model: str, out: str) -> None:
    """Writes the folder and prints where the generator is published."""
    keep_compiled()
    names, with_trained = ("MODEL", "--snapshot"), WITH_TRAINING_NETS.value
    with (
        writing_to("OUT", out),
        snapshot_folder(model, SNAPSHOT.value, names, with_trained) as snapshot,
    ):
        licence = settle_licence(read_info(snapshot), LICENCE.value)
        sha256 = digest(snapshot)
        place = publish(snapshot, out, licence, with_trained)
    name = model if "://" in model else snapshot.name
    print(f"{name} is published as {place}; licence {one_line(licence['name'])}")
    print(f"its weights have SHA-256 {sha256}")


if __name__ == "__main__":
    run(main, "MODEL", "OUT")
