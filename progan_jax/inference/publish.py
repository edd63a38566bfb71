"""Published snapshots: weights, description, licence, samples and a model card."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from progan_jax.errors import UserError
from progan_jax.files import write_whole
from progan_jax.images import grid_shape, tile, write_png
from progan_jax.inference.classes import list_classes, one_line
from progan_jax.inference.generator import TrainedGenerator, to_uint8
from progan_jax.inference.hub import CARD
from progan_jax.inference.load import open_snapshot
from progan_jax.inference.snapshot import CARRIES, copy_snapshot, read_trained

SAMPLES = "samples.png"

# Front matter of the card, in which the Hub looks for it; and its tags, with the
# family's before them.
_METADATA = {
    "library_name": "progan_jax",
    "pipeline_tag": "unconditional-image-generation",
}
_TAGS = ("gan", "image-generation", "jax", "flax")

# Markdown's own characters. An underscore within a word is an ordinary one.
_MARKUP = re.compile(r"[\\`*\[\]<>&|~$@:]|(?<!\w)_|_(?!\w)|(?<=www)\.")

# An address without spaces, quotes and brackets, which could end a link early.
_ADDRESS = re.compile(r"https://[\w.~:/?#@!$&*+,;=%-]+", re.ASCII)

_IDENTIFIER = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")

# Fields of a configuration that hold paths of the machine that trained.
PATHS = (
    *("init_from", "data.data_dir", "eval.inception_weights", "eval.classifier"),
    *("eval.lpips_weights", "eval.vgg16_weights", "eval.dinov2_weights"),
    *("eval.attributes", "model.backbone_weights"),
)

# Those of which the name of the file is published.
_FILES = ("model.embedding_file",)

_SEED = 0  # Of the samples.

_LARGEST_GRID = 8  # Columns, and rows, of samples.


def model_card(
    title: str,
    source: str,
    generator: TrainedGenerator,
    licence: str,
    *,
    samples: str,
    records: Iterable[Mapping[str, Any]],
    base: Mapping[str, Any] | None,
) -> str:
    """Returns the text of a model card.

    Args:
      title: Heading of the page.
      source: Argument of `progan_jax.load` that opens the published generator.
      generator: The published generator; its description holds the licence.
      licence: The Hub's identifier of the licence.
      samples: What the image `SAMPLES` shows, in words.
      records: Records of metrics.jsonl that were measured with these weights; a "mark"
        in one follows the metric's name.
      base: Fields of the base configuration by their dotted names; None if unknown.
    """
    paper = generator.family.PAPER
    terms = _licence_metadata(generator.info["licence"], licence)
    metadata = {**terms, **_METADATA, "tags": [*paper.tags, *_TAGS]}
    front = "\n".join(f"{name}: {json.dumps(v)}" for name, v in metadata.items())
    colours = "grey" if generator.channels == 1 else "RGB"
    size = f"{generator.resolution}x{generator.resolution}"
    parts = [
        f"---\n{front}\n---",
        f"# {markdown_text(title)}",
        f"A generator of {paper.model} ([{paper.authors}]({paper.url})) for {colours} "
        f"images of {size}.",
        f"![{samples}]({SAMPLES})",
        f"{samples}.",
        *_usage(source, generator),
        *_network(generator),
        *_origin(generator.info, base),
        *_metrics(records),
        *_licence(generator.info["licence"], licence),
    ]
    return "\n\n".join(parts) + "\n"


def _usage(source: str, generator: TrainedGenerator) -> Iterator[str]:
    label = ", label=0" if generator.num_classes else ""
    side, channels = generator.resolution, generator.channels
    shape = f"[16, {side}, {side}, {channels}]"
    yield "## Use"
    yield (
        "```python\n"
        "import progan_jax\n\n"
        f"g = progan_jax.load({json.dumps(one_line(source), ensure_ascii=False)})\n"
        f"images = g.sample(16, seed=1{label})  # float32 {shape}, about [-1, 1]\n"
        "```"
    )
    yield "`progan_jax.to_uint8(images)` converts them to bytes."
    if generator.info.get(CARRIES):
        flag = _code(f"--config.init_from={source}")
        yield f"With {flag} a run starts from the G and D in training, also included."


def _network(generator: TrainedGenerator) -> Iterator[str]:
    options, names = generator.network.options, generator.class_names
    listed = f": {list_classes(names)}" if names else ""
    newest = {"weight of the newest block": generator.alpha}
    if generator.family.RESTARTS:  # Nothing fades in.
        newest = {}
    rows = {
        "resolution": generator.resolution,
        "final resolution": options.resolution,
        **newest,
        "channels": generator.channels,
        "latents": f"{generator.latent_dim}, standard normal",
        "classes": f"{generator.num_classes}{listed}",
        **generator.family.describe(options),
        "parameters": sum(x.size for x in jax.tree.leaves(generator.params)),
    }
    if "nimg" in generator.info["stage"]:
        rows["real images shown, with repeats"] = generator.info["stage"]["nimg"]
    yield "## Network"
    yield _table(("", ""), rows.items())


def _origin(info: Mapping[str, Any], base: Mapping[str, Any] | None) -> Iterator[str]:
    """Yields sections on the data, the initial networks and the configuration."""
    sections = {
        "Training images": info.get("dataset", {}),
        "Initial networks": info.get("initial", {}),
        "Frozen networks of D": {
            name: f"{file['file']}, SHA-256 {file['sha256']}"
            for name, file in info.get("frozen_files", {}).items()
        },
        "Imported from": info.get("source", {}),
    }
    for heading, fields in sections.items():
        # The table of the network has the names of the classes.
        rows = [row for row in fields.items() if row[0] != "class_names"]
        if rows:
            yield f"## {heading}"
            yield _table(("", ""), rows)
    if "config" in info and base is not None:
        fields = traverse_util.flatten_dict(info["config"], sep=".")
        yield "## Configuration"
        yield "Fields that differ from `configs/base.py`; `snapshot.json` has all."
        yield _table(
            ("field", "value", "base"),
            [
                (name, value, base.get(name, "none"))
                for name, value in sorted(fields.items())
                if name not in base or base[name] != value
            ],
        )


def _metrics(records: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    yield "## Metrics"
    tables = [
        f"{_code(record['metric'])}{record.get('mark', '')}, "
        f"measured with {_code(record['settings'])}:\n\n"
        + _table(
            ("metric", "value"),
            [(name, f"{value:.4g}") for name, value in record["values"].items()],
        )
        for record in records
    ]
    yield from tables or ["None was recorded for these weights."]


def _licence(licence: Mapping[str, Any], identifier: str) -> Iterator[str]:
    name, url, holder = _code(identifier), licence.get("url"), licence.get("holder")
    if isinstance(url, str) and _ADDRESS.fullmatch(url):
        name = f"[{markdown_text(licence['name'])}]({url})"
    owner = f" Rights holder: {markdown_text(holder)}." if holder else ""
    yield "## Licence"
    yield f"These weights are licensed under {name}.{owner}"


def _licence_metadata(licence: Mapping[str, Any], identifier: str) -> dict[str, Any]:
    """Returns the Hub's fields, with name and link of a licence it does not list."""
    if identifier != "other":
        return {"license": identifier}
    name = re.sub("[^a-z0-9]+", "-", licence["name"].lower()).strip("-")
    return {"license": "other", "license_name": name, "license_link": licence["url"]}


def _table(heads: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    """Returns a table with every cell but the heads as code."""
    lines = [heads, ("---",) * len(heads), *(map(_code, row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _code(value: Any) -> str:
    """Returns a value as inline code on one line, which no character in it ends."""
    text = value if isinstance(value, str) else json.dumps(value)
    plain = one_line(text.replace("`", "'"))
    return f"`{plain}`".replace("|", "\\|") if plain else '`""`'


def markdown_text(value: Any) -> str:
    """Returns a value as one line of Markdown with every markup character escaped."""
    return _MARKUP.sub(r"\\\g<0>", one_line(str(value)))


def settle_licence(
    info: Mapping[str, Any], wanted: str | None, flag: str = "--licence"
) -> dict[str, Any]:
    """Returns the licence under which a snapshot is published.

    A licence in the description stays: it was chosen by whoever trained the weights, or
    the weights that they come from.

    Args:
      info: The snapshot's description.
      wanted: The Hub's identifier that the user gave, such as "cc-by-4.0", or None.
      flag: Name by which the user gave it, for the messages.

    Returns:
      The field `licence` of the description: its name, and what else is known of it.

    Raises:
      UserError: if there is none, or it is not that of the snapshot.
    """
    own = info.get("licence")
    if own is not None:
        if wanted not in (None, licence_identifier(own)):
            raise UserError(
                f"{flag}={wanted}: these weights are under {own['name']}, which "
                "cannot be replaced; leave the flag out"
            )
        return dict(own)
    # The Hub's "other" would need also a name and a text.
    if wanted is None or not _IDENTIFIER.fullmatch(wanted) or wanted == "other":
        given = " is missing" if wanted is None else f"={wanted} is unknown"
        raise UserError(
            f"{flag}{given}: give an identifier of the Hub, such as cc-by-4.0; see "
            "https://huggingface.co/docs/hub/repositories-licenses"
        )
    return {"name": wanted}


def licence_identifier(licence: Mapping[str, Any]) -> str:
    """Returns the Hub's identifier of a licence, "cc-by-nc-4.0" for "CC BY-NC 4.0".

    A licence that the Hub does not list has the field `identifier`, "other".
    """
    made: str = licence["name"].lower().replace(" ", "-")
    return licence.get("identifier", made)


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
    """Writes a published snapshot, which is a snapshot's folder with a card.

    The weights are copied byte for byte after their checksums are compared. The
    description gets the licence and loses the paths of this machine.

    Args:
      snapshot: The snapshot's folder.
      folder: Folder to create.
      licence: As returned by `settle_licence`.
      title: Heading of the card.
      source: Argument of `progan_jax.load` that opens the published generator.
      with_trained: Whether G and D of the training are published as well.
      records: Records of metrics.jsonl that were measured with these weights.
      base: See `model_card`.

    Raises:
      UserError: if the snapshot is damaged or not of a generator, its images are not
        finite, or G and D are asked for and it has none.
    """
    generator = open_snapshot(snapshot)
    if with_trained and not read_trained(snapshot):
        raise UserError(
            f"--with_training_nets: snapshot {snapshot.name} has no G and D of its "
            "training; leave it out, or train with --config.train.snapshot_networks"
        )
    info = _without_paths(generator.info) | {"licence": dict(licence)}
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


def _draw(generator: TrainedGenerator) -> tuple[np.ndarray, str]:
    """Returns a grid of samples, and what it shows."""
    shape = grid_shape(generator.resolution, "1080p")
    columns, rows = (min(count, _LARGEST_GRID) for count in shape)
    images = to_uint8(generator.sample(columns * rows, _SEED))
    shown = f"{columns * rows} samples of seed {_SEED}, unchosen"
    if style := str(generator.read_style()):
        shown += f"; {style}"
    return tile(images, columns), shown


def _without_paths(info: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a description without `CARRIES` and the paths of this machine."""
    kept = {name: value for name, value in info.items() if name != CARRIES}
    for name, prefix in (("config", ""), ("options", "model.")):
        if name in kept:
            fields = traverse_util.flatten_dict(kept[name], keep_empty_nodes=True)
            cleared = {
                path: _without_path(prefix + ".".join(path), value)
                for path, value in fields.items()
            }
            kept[name] = traverse_util.unflatten_dict(cleared)
    return kept


def _without_path(field: str, value: Any) -> Any:
    if field in PATHS:
        return ""
    return Path(value).name if field in _FILES else value
