"""A snapshot as others get it: weights, description, licence, samples and a card."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from flax import traverse_util

from progan_jax.errors import UserError
from progan_jax.files import write_whole
from progan_jax.images import grid_shape, tile, write_png
from progan_jax.inference.generator import (
    TrainedGenerator,
    find_class,
    list_classes,
    one_line,
    open_snapshot,
    to_uint8,
)
from progan_jax.inference.hub import CARD
from progan_jax.inference.snapshot import CARRIES, copy_snapshot, read_trained

SAMPLES = "samples.png"

# Within a word, an underscore means nothing.
_MARKUP = re.compile(r"[\\`*\[\]<>&|~$@:]|(?<!\w)_|_(?!\w)|(?<=www)\.")

# No space, quote or bracket may end it early.
_ADDRESS = re.compile(r"https://[\w.~:/?#@!$&*+,;=%-]+", re.ASCII)

_PAPER = "https://arxiv.org/abs/1710.10196"

_TAGS = ("progan", "progressive-gan", "gan", "image-generation", "jax", "flax")


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
      title: Of the page.
      source: What `progan_jax.load` takes to open the published generator.
      generator: The published one, whose description holds its licence.
      licence: The Hub's identifier of that.
      samples: What `SAMPLES` shows, in words.
      records: What was measured of these weights, as metrics.jsonl has it.
      base: Fields of the base configuration by their dotted names; None where it is
        not at hand.
    """
    info = generator.info
    parts = [
        _metadata(licence),
        f"# {markdown_text(title)}",
        _summary(generator),
        f"![{samples}]({SAMPLES})",
        f"{samples}.",
        "## Use",
        _usage(source, generator),
        "## Network",
        _network(generator),
        *_training(info, base),
        *_metrics(records),
        "## Licence",
        _licence(info["licence"], licence),
    ]
    return "\n\n".join(parts) + "\n"


def _metadata(licence: str) -> str:
    lines = [
        f"license: {json.dumps(licence)}",
        "library_name: progan_jax",
        "pipeline_tag: unconditional-image-generation",
        "tags:",
        *(f"- {tag}" for tag in _TAGS),
    ]
    return "\n".join(["---", *lines, "---"])


def _summary(generator: TrainedGenerator) -> str:
    colours = "grey" if generator.channels == 1 else "RGB"
    side, classes = generator.resolution, generator.num_classes
    of = f" of {classes} classes" if classes else ""
    origin = "".join(f" {told}" for told in _origin(generator.info))
    return (
        f"A generator of Progressive GAN ([Karras et al. 2018]({_PAPER})) for "
        f"{colours} images of {side}x{side}{of}.{origin}"
    )


def _origin(info: Mapping[str, Any]) -> Iterable[str]:
    """Yields sentences on where a generator comes from, as far as it is known."""
    if name := info.get("dataset", {}).get("name"):
        count, shown = info["dataset"].get("num_images"), info["stage"].get("nimg")
        images = f", {count:,} images" if isinstance(count, int) else ""
        yield f"It was trained on {_code(name)}{images}."
        if isinstance(shown, int | float):
            yield f"It has been shown {shown / 1000:,.1f} thousand, repeats counted."
    elif name := info.get("source", {}).get("file"):
        yield f"It was taken over from {_code(name)} of the authors' program."
    if name := info.get("initial", {}).get("name"):
        digest = info["initial"].get("sha256")
        yield (
            f"That training started from the networks of {_code(name)}"
            + (f" (SHA-256 {_code(digest)})." if digest else ".")
        )


def _usage(source: str, generator: TrainedGenerator) -> str:
    first = _first_class(generator.class_names)
    label = f", label={first}" if generator.num_classes else ""
    side, channels = generator.resolution, generator.channels
    shape = f"[16, {side}, {side}, {channels}]"
    lines = [
        "```python",
        "import progan_jax",
        "",
        f"g = progan_jax.load({_literal(one_line(source))})",
        f"images = g.sample(16, seed=1{label})  # float32 {shape}, about [-1, 1]",
        "```",
    ]
    told = "`progan_jax.to_uint8(images)` turns them into bytes."
    if generator.info.get(CARRIES):
        flag = _code(f"--config.init_from={source}")
        told += (
            f" With {flag} a run starts from G and D as they were in training, which "
            "lie here, too."
        )
    return "\n".join([*lines, "", told])


def _first_class(names: Sequence[str]) -> str:
    """Returns how Python writes the first class: its name, if that is clear, or 0."""
    try:
        find_class("label", names[0], len(names), names)
    except (IndexError, UserError):  # "1", for example, is class 1, too.
        return "0"
    return _literal(names[0])


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _network(generator: TrainedGenerator) -> str:
    options = generator.network.options
    sizes = (leaf.size for leaf in jax.tree.leaves(generator.params))
    rows = [
        ("topology", _code(options.topology)),
        ("resolution", generator.resolution),
        ("final resolution", options.resolution),
        ("weight of the newest block", generator.alpha),
        ("channels", generator.channels),
        ("latents", f"{generator.latent_dim}, standard normal"),
        ("classes", _classes(generator)),
        ("feature maps", f"{options.fmap_base} / 2^k, at most {options.fmap_max}"),
        ("parameters", f"{sum(sizes):,}"),
    ]
    return _table(("", ""), rows)


def _classes(generator: TrainedGenerator) -> str:
    names = generator.class_names
    listed = f": {_code(list_classes(names))}" if names else ""
    return f"{generator.num_classes}{listed}"


def _training(info: Mapping[str, Any], base: Mapping[str, Any] | None) -> list[str]:
    """Returns the chapters on images and configuration, as far as there are any."""
    if "config" not in info:
        source = info.get("source", {})
        rows = [
            (markdown_text(name), _code(value))
            for name, value in source.items()
            if name != "options"
        ]
        return ["## Origin", _table(("", ""), rows)] if rows else []
    data = [
        (markdown_text(name), _code(value))
        for name, value in info.get("dataset", {}).items()
        if name != "class_names"  # In the table of the network.
    ]
    parts = ["## Images", _table(("", ""), data)] if data else []
    parts.append("## Configuration")
    if base is None:
        return [*parts, "All fields stand in `snapshot.json`."]
    fields = traverse_util.flatten_dict(info["config"], sep=".")
    rows = [
        (_code(name), _code(value), _code(base.get(name, "none")))
        for name, value in sorted(fields.items())
        if name not in base or base[name] != value
    ]
    told = "Fields that differ from `configs/base.py`; all stand in `snapshot.json`."
    return [*parts, told, _table(("field", "value", "base"), rows)]


def _metrics(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Returns the figures with the numbers of their settings, told once each below."""
    rows, settings = [], []
    for number, record in enumerate(records, 1):
        rows += [
            (markdown_text(n), f"{v:.4g}", number) for n, v in record["values"].items()
        ]
        told = _settings(record["settings"])
        settings.append(f"{number}. {markdown_text(record['metric'])}: {told}")
    if not rows:
        return ["## Metrics", "None is recorded with these weights."]
    table = _table(("figure", "value", "settings"), rows)
    return ["## Metrics", table, "Settings:", "\n".join(settings)]


def _settings(settings: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{markdown_text(name)} {_code(value)}" for name, value in settings.items()
    )


def _licence(licence: Mapping[str, Any], identifier: str) -> str:
    named, url, holder = _code(identifier), licence.get("url"), licence.get("holder")
    if isinstance(url, str) and _ADDRESS.fullmatch(url):
        named = f"[{markdown_text(licence['name'])}]({url})"
    of = f", of {markdown_text(holder)}" if holder else ""
    return f"These weights are under {named}{of}."


def _table(heads: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _code(value: Any) -> str:
    """Returns a value as Markdown's code, which no text in it can leave."""
    text = value if isinstance(value, str) else json.dumps(value)
    plain = one_line(text.replace("`", "'"))
    return f"`{plain}`".replace("|", "\\|") if plain else '`""`'


def markdown_text(value: Any) -> str:
    """Returns a value as one line of Markdown that means nothing but itself."""
    return _MARKUP.sub(r"\\\g<0>", one_line(str(value)))


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
