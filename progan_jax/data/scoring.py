"""Keeps the best of aligned faces: all are scored, then the best N are prepared."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from progan_jax.data.celeba_hq_ranking import power_spectrum_score, rank_by_quality
from progan_jax.data.decoding import BadImage
from progan_jax.data.names import printable
from progan_jax.data.processes import call_for_each
from progan_jax.data.readers import Source, Subset
from progan_jax.data.shards import refuse_bad
from progan_jax.errors import UserError
from progan_jax.files import write_json, write_whole

_PART = 64  # Faces that are scored before their scores are kept.


@dataclass(frozen=True)
class Score:
    """What an image is worth.

    Attributes:
      index: In the source.
      name: By which the user knows it.
      score: See `power_spectrum_score`; None if the image cannot be used.
      reason: Why it cannot.
    """

    index: int
    name: str
    score: float | None
    reason: str = ""


def score_images(
    reader: Source,
    folder: Path,
    strict: bool,
    workers: int,
    report: Callable[[int], None],
) -> list[Score]:
    """Scores all images that have no score yet, and returns all scores in order.

    Args:
      reader: Of pixels uint8 [r, r, 3].
      folder: Where scores are kept as they are made.
      strict: Whether a bad image ends the work.
      workers: Processes.
      report: Called with the number of images whenever some are scored.

    Raises:
      UserError: if an image is bad and `strict` is set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts: dict[int, list[Score]] = {}
    for path in sorted(folder.glob("*.json")):
        # Damaged: it is made again.
        with suppress(ValueError, TypeError, RecursionError):
            rows = json.loads(path.read_text())
            parts[int(path.stem)] = [Score(**row) for row in rows]
            report(len(rows))
    for score in (score for part in parts.values() for score in part):
        if strict and score.score is None:
            raise refuse_bad(score.name, score.reason)
    missing = [k for k in range(-(-len(reader) // _PART)) if k not in parts]
    score_part = partial(_score_part, reader, folder, strict)
    for scores in call_for_each(score_part, missing, workers):
        parts[scores[0].index // _PART] = scores
        report(len(scores))
    return [score for k in sorted(parts) for score in parts[k]]


def _score_part(reader: Source, folder: Path, strict: bool, part: int) -> list[Score]:
    first = part * _PART
    last = min(first + _PART, len(reader))
    scores = [_score(reader, index, strict) for index in range(first, last)]
    write_json(folder / f"{part:05d}.json", [asdict(score) for score in scores])
    return scores


def _score(reader: Source, index: int, strict: bool) -> Score:
    try:
        item = reader[index]
    except BadImage as error:
        name = reader.name_of(index)
        if strict:
            raise refuse_bad(name, str(error)) from error
        return Score(index, name, None, str(error))
    if isinstance(item.data, bytes):
        raise TypeError("pixels are scored, not files")
    return Score(index, item.name, power_spectrum_score(item.data))


def keep_best(reader: Source, scores: Sequence[Score], keep: int) -> Subset:
    """Returns the best images in the order of the source.

    Raises:
      UserError: if fewer than `keep` can be used.
    """
    usable = [score for score in scores if score.score is not None]
    if len(usable) < keep:
        raise UserError(
            f"--keep={keep}: only {len(usable):,} of {len(scores):,} photographs can "
            "be used; lower it"
        )
    best = rank_by_quality([score.score or 0.0 for score in usable], keep)
    return Subset(reader, sorted(usable[k].index for k in best))


def write_scores(path: Path, scores: Sequence[Score], kept: Subset) -> None:
    """Writes image, score and whether it is kept (1 or 0), in the source's order."""
    chosen = set(kept.indices)
    buffer = io.StringIO()
    rows = csv.writer(buffer, lineterminator="\n")
    rows.writerow(["image", "score", "kept"])
    for score in scores:
        if score.score is not None:
            kept_now = int(score.index in chosen)
            rows.writerow([printable(score.name), f"{score.score:.6f}", kept_now])
    write_whole(path, buffer.getvalue())
