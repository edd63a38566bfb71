"""Publishes a snapshot's generator: a folder in the Hugging Face Hub's layout.

    python -m progan_jax.tools.publish MODEL OUT --licence=ID [--snapshot=best]
    python -m progan_jax.tools.publish MODEL hf://USER/NAME --licence=ID

MODEL is what progan_jax.load takes: a run, of which the newest snapshot is taken, a
snapshot, hf://USER/NAME, a pickle of the authors' program, or a network that ships with
this package. OUT becomes a snapshot's folder with a model card (README.md) and samples;
hf://USER/NAME is a repository of the Hub, which is made unless it is there. ID is the
Hub's identifier of a licence, such as cc-by-4.0. Networks that have a licence already,
as the authors' do, keep it. --with_training_nets publishes G and D as well, for
config.init_from.
"""

from pathlib import Path
from tempfile import gettempdir
from typing import Any

from absl import flags

from progan_jax.configs import base
from progan_jax.errors import UserError
from progan_jax.files import working_folder
from progan_jax.inference.generator import one_line
from progan_jax.inference.hub import parse_address, upload
from progan_jax.inference.load import snapshot_folder
from progan_jax.inference.publish import settle_licence, write_publication
from progan_jax.inference.snapshot import digest, read_info
from progan_jax.metrics.scoreboard import Scoreboard
from progan_jax.runtime.command_line import list_fields, run_with_arguments
from progan_jax.runtime.compiler import keep_compiled

LICENCE = flags.DEFINE_string("licence", None, "The Hub's identifier of the licence.")

SNAPSHOT = flags.DEFINE_string(
    "snapshot", None, 'Name of a snapshot of a run, or "best"; the newest if unset.'
)

WITH_TRAINING_NETS = flags.DEFINE_bool(
    "with_training_nets", False, "Publish G and D of the training as well."
)


def main(model: str, out: str) -> None:
    """Checks, writes, and uploads or puts in place."""
    keep_compiled()
    names, with_trained = ("MODEL", "--snapshot"), WITH_TRAINING_NETS.value
    try:
        with snapshot_folder(model, SNAPSHOT.value, names, with_trained) as snapshot:
            licence = settle_licence(read_info(snapshot), LICENCE.value)
            told = _publish(snapshot, out, licence)
    except OSError as error:
        raise UserError(f"OUT={out}: {error}; choose another folder") from error
    name = model if "://" in model else snapshot.name
    print(f"{name} is published as {told}; licence {one_line(licence['name'])}")


def _publish(snapshot: Path, out: str, licence: dict[str, Any]) -> str:
    """Returns where the generator can be found from now on."""
    if "://" in out:
        parse_address("OUT", out)
        with working_folder(Path(gettempdir()), "progan_jax_publish_") as parent:
            folder = parent / "model"
            _write(snapshot, folder, licence, out.rpartition("/")[2], out)
            return upload("OUT", out, folder)
    place = Path(out)
    if place.exists():
        raise UserError(f"OUT={out} is there already; name a folder that is not")
    place.parent.mkdir(parents=True, exist_ok=True)
    with working_folder(place.parent, ".publish") as parent:
        folder = parent / "model"
        _write(snapshot, folder, licence, place.name, f"path/to/{place.name}")
        folder.rename(place)
    return out


def _write(
    snapshot: Path, folder: Path, licence: dict[str, Any], title: str, source: str
) -> None:
    weights = digest(snapshot)
    # A run's snapshots lie in its folder snapshots/.
    records = Scoreboard(snapshot.absolute().parent.parent).records()
    write_publication(
        snapshot,
        folder,
        licence,
        title=title,
        source=source,
        with_trained=WITH_TRAINING_NETS.value,
        records=[record for record in records if record.get("sha256") == weights],
        base=list_fields(base.get_config()),
    )


if __name__ == "__main__":
    run_with_arguments(main, "MODEL", "OUT")
