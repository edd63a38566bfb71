"""Publishes a snapshot's generator: a folder in the Hugging Face Hub's layout.

    python -m progan_jax.tools.publish MODEL OUT --licence=ID [--snapshot=best]
    python -m progan_jax.tools.publish MODEL hf://USER/NAME --licence=ID

MODEL is a run's folder, of which the newest snapshot is taken, or a snapshot's. OUT
becomes a snapshot's folder with a model card (README.md) and samples; hf://USER/NAME is
a repository of the Hub, which is made unless it is there. ID is the Hub's identifier of
a licence, such as cc-by-4.0. Networks that have a licence already, as the authors' do,
keep it. --with_training_nets publishes G and D as well, for config.init_from.
"""

import tempfile
from pathlib import Path
from typing import Any

from absl import flags

import progan_jax
from progan_jax.errors import UserError
from progan_jax.hub import parse_address, upload
from progan_jax.publishing import settle_licence, write_publication
from progan_jax.runtime.command_line import (
    list_fields,
    load_config,
    run_with_arguments,
)
from progan_jax.runtime.compilation_cache import keep_compiled
from progan_jax.runtime.snapshot import digest, find_snapshot, read_info
from progan_jax.scoreboard import Scoreboard

LICENCE = flags.DEFINE_string("licence", None, "The Hub's identifier of the licence.")
SNAPSHOT = flags.DEFINE_string(
    "snapshot", None, 'Name of a snapshot of a run, or "best"; the newest if unset.'
)
WITH_TRAINING_NETS = flags.DEFINE_bool(
    "with_training_nets", False, "Publish G and D of the training as well."
)


def main(model: str, out: str) -> None:
    """Checks, writes, and uploads or puts in place."""
    snapshot = find_snapshot(Path(model), SNAPSHOT.value, ("MODEL", "--snapshot"))
    licence = settle_licence(read_info(snapshot), LICENCE.value)
    keep_compiled()
    try:
        told = _publish(snapshot, out, licence)
    except OSError as error:
        raise UserError(f"OUT={out}: {error}; choose another folder") from error
    print(f"{snapshot.name} is published as {told}; licence {licence['name']}")


def _publish(snapshot: Path, out: str, licence: dict[str, Any]) -> str:
    """Returns where the generator can be found from now on."""
    if "://" in out:
        parse_address("OUT", out)
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent) / "model"
            _write(snapshot, folder, licence, out.rpartition("/")[2], out)
            return upload("OUT", out, folder)
    place = Path(out)
    if place.exists():
        raise UserError(f"OUT={out} is there already; name a folder that is not")
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".publish") as parent:
        folder = Path(parent) / "model"
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
        base=_base_fields(),
    )


def _base_fields() -> dict[str, Any] | None:
    """Returns the base configuration's fields, where the source tree is at hand."""
    path = Path(progan_jax.__file__).parents[1] / "configs" / "base.py"
    return list_fields(load_config(str(path))) if path.is_file() else None


if __name__ == "__main__":
    run_with_arguments(main, "MODEL", "OUT")
