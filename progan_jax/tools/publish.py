"""Publishes a snapshot's generator: a folder in the Hugging Face Hub's layout.

    python -m progan_jax.tools.publish MODEL OUT --licence=ID [--snapshot=best]
    python -m progan_jax.tools.publish MODEL hf://USER/NAME --licence=ID

MODEL is any source of progan_jax.load: a run, of which the newest snapshot is taken, a
snapshot, hf://USER/NAME, a pickle of the authors' program, or a network that ships with
this package. OUT becomes a snapshot's folder with a model card (README.md) and samples;
hf://USER/NAME is a repository of the Hub, which is created if it does not exist. ID is
the Hub's identifier of a licence, such as cc-by-4.0. Networks that already have a
licence, as the authors' do, keep it. --with_training_nets also publishes G and D, for
config.init_from.
"""

from collections.abc import Mapping
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from absl import flags

from progan_jax.configs import base
from progan_jax.errors import UserError
from progan_jax.files import working_folder, writing_to
from progan_jax.inference.classes import one_line
from progan_jax.inference.hub import parse_address, upload
from progan_jax.inference.load import snapshot_folder
from progan_jax.inference.publish import settle_licence, write_publication
from progan_jax.inference.snapshot import digest, read_info
from progan_jax.metrics.ranking import mark_of_metric
from progan_jax.metrics.scoreboard import Scoreboard
from progan_jax.models.families import DEFAULT, FAMILIES
from progan_jax.runtime.command_line import list_fields, run
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
        place = _publish(snapshot, out, licence)
    name = model if "://" in model else snapshot.name
    print(f"{name} is published as {place}; licence {one_line(licence['name'])}")


def _publish(snapshot: Path, out: str, licence: dict[str, Any]) -> str:
    """Publishes a snapshot and returns the folder or the address."""
    if "://" in out:
        parse_address("OUT", out)
        with working_folder(Path(gettempdir()), "progan_jax_publish_") as parent:
            folder = parent / "model"
            _write(snapshot, folder, licence, out.rpartition("/")[2], out)
            return upload("OUT", out, folder)
    place = Path(out)
    if place.exists():
        raise UserError(f"OUT={out} already exists; choose another folder")
    place.parent.mkdir(parents=True, exist_ok=True)
    with working_folder(place.parent, ".publish") as parent:
        folder = parent / "model"
        _write(snapshot, folder, licence, place.name, f"path/to/{place.name}")
        folder.rename(place)
    return out


def _write(
    snapshot: Path, folder: Path, licence: dict[str, Any], title: str, source: str
) -> None:
    weights, info = digest(snapshot), read_info(snapshot)
    # The run's folder, if the snapshot is in RUN/snapshots/.
    records = Scoreboard(snapshot.absolute().parent.parent).records()
    frozen = info.get("frozen_files", {})
    write_publication(
        snapshot,
        folder,
        licence,
        title=title,
        source=source,
        with_trained=WITH_TRAINING_NETS.value,
        records=[
            record | {"mark": mark_of_metric(record["metric"], frozen)}
            for record in records
            if record.get("sha256") == weights
        ],
        base=_base_fields(info),
    )


def _base_fields(info: Mapping[str, Any]) -> dict[str, Any] | None:
    family = info.get("family", DEFAULT)
    return list_fields(base.get_config(family)) if family in FAMILIES else None


if __name__ == "__main__":
    run(main, "MODEL", "OUT")
