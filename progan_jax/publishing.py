"""A snapshot as others get it: weights, description, licence, samples and a card."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from progan_jax.errors import UserError
from progan_jax.files import write_whole
from progan_jax.hub import CARD
from progan_jax.images import grid_shape, tile, write_png
from progan_jax.model_card import SAMPLES, model_card
from progan_jax.runtime.snapshot import CARRIES, copy_snapshot, read_trained
from progan_jax.trained import TrainedGenerator, open_snapshot, to_uint8

# Fields whose values are places on the machine that trained, which is nobody's affair.
_PLACES = ("init_from", "data.data_dir", "eval.inception_weights", "eval.classifier")
_IDENTIFIER = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")
_SEED = 0  # Of the samples.
_MOST = 8  # Of them in a row, and rows.


def settle_licence(info: Mapping[str, Any], wanted: str | None) -> dict[str, Any]:
    """Returns the licence to publish a snapshot under.

    One that stands in its description stays: whoever trained the weights, or those
    that they come from, has chosen it.

    Args:
      info: The snapshot's description.
      wanted: The Hub's identifier, such as "cc-by-4.0", if the user named one.

    Returns:
      What the description is to hold: its name, and what else is known of it.

    Raises:
      UserError: if there is none, it is of another form, or not the snapshot's own.
    """
    own = info.get("licence")
    if own is not None:
        if not isinstance(own, dict) or not isinstance(own.get("name"), str):
            raise UserError(
                "the snapshot's description has a licence without a name; restore it"
            )
        if wanted is not None and wanted != licence_identifier(own):
            raise UserError(
                f"--licence={wanted}: these weights are under {own['name']}, which "
                "cannot be replaced; leave the flag out"
            )
        return dict(own)
    if wanted is None:
        raise UserError(
            "--licence is missing: say what others may do with these weights, as in "
            "--licence=cc-by-4.0; see https://huggingface.co/docs/hub/"
            "repositories-licenses"
        )
    # "other" asks for a name and a text of its own.
    if not _IDENTIFIER.fullmatch(wanted) or wanted == "other":
        raise UserError(
            f"--licence={wanted} must be an identifier of the Hub's, such as mit, "
            "apache-2.0, cc-by-4.0 or cc-by-nc-4.0"
        )
    return {"name": wanted}


def licence_identifier(licence: Mapping[str, Any]) -> str:
    """Returns the Hub's identifier of a licence, "cc-by-nc-4.0" for "CC BY-NC 4.0"."""
    return licence["name"].lower().replace(" ", "-")


def write_publication(
    snapshot: Path,
    folder: Path,
    licence: Mapping[str, Any],
    *,
    title: str,
    source: str,
    with_trained: bool = False,
    records: Iterable[Mapping[str, Any]] = (),
    base: Mapping[str, Any] | None = None,
) -> None:
    """Writes the files of a published snapshot, a snapshot's folder itself.

    The weights are the same, byte for byte, as their checksums say; the description
    gets the licence, and loses what it says of places on this machine.

    Args:
      snapshot: The snapshot's folder.
      folder: To be made.
      licence: As `settle_licence` returns it.
      title: Of the card.
      source: What `progan_jax.load` takes to open what is published.
      with_trained: Whether G and D of the training are published as well.
      records: What was measured of these weights, as metrics.jsonl has it.
      base: See `model_card`.

    Raises:
      UserError: if the snapshot is not a whole one of a generator, its images are not
        finite, or it carries no G and D that are asked for.
    """
    generator = open_snapshot(snapshot)
    if with_trained and not read_trained(snapshot):
        raise UserError(
            f"--with_training_nets: snapshot {snapshot.name} carries no G and D of its "
            "training; leave it out, or train with --config.train.snapshot_networks"
        )
    info = _without_places(generator.info) | {"licence": dict(licence)}
    generator.info = info | ({CARRIES: True} if with_trained else {})
    grid, samples = _draw(generator)
    card = model_card(
        title,
        source,
        generator,
        licence_identifier(licence),
        samples=samples,
        records=records,
        base=base,
    )
    folder.mkdir()
    copy_snapshot(snapshot, folder, generator.info, with_trained)
    write_png(folder / SAMPLES, grid)
    write_whole(folder / CARD, card)


def _draw(generator: TrainedGenerator) -> tuple[Any, str]:
    """Returns a grid of samples, and what it shows."""
    shape = grid_shape(generator.resolution, "1080p")
    columns, rows = (min(number, _MOST) for number in shape)
    images = to_uint8(generator.sample(columns * rows, _SEED))
    return tile(images, columns), f"{columns * rows} samples of seed {_SEED}, unchosen"


def _without_places(info: Mapping[str, Any]) -> dict[str, Any]:
    cleared = json.loads(json.dumps(info))
    cleared.pop(CARRIES, None)
    for place in _PLACES:
        *groups, field = place.split(".")
        fields = cleared.get("config", {})
        for group in groups:
            fields = fields.get(group, {}) if isinstance(fields, dict) else {}
        if isinstance(fields, dict) and field in fields:
            fields[field] = ""
    return cleared
