"""Image sets as they lie on disk: the levels of a prepared pyramid, or one TFDS set.

Unlike `sources`, which opens what a run trains on, this takes nothing for granted: each
level is opened by itself, with the number of images that its own files hold.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from progan_jax.data.checks import check_features
from progan_jax.data.layout import LABELS, RECORD, VERSION, level_name
from progan_jax.data.prepared import is_pyramid, read_description
from progan_jax.data.records import (
    class_label,
    make_decoder,
    names_of_classes,
    newest_version,
    open_folder,
    open_records,
)
from progan_jax.errors import UserError

_CHUNK_BYTES = 2**26
_CHUNK_IMAGES = 1024

Report = Callable[[int], object]  # Takes the number of images that are done with.


class StoredLevel:
    """The images of one TFDS set, all of one size.

    Attributes:
      folder: Of the set.
      shape: (n, h, w, C).
      num_bytes: Of its files.
      class_names: Of the ClassLabel feature `label`; () without it.
    """

    def __init__(self, folder: Path, split: str) -> None:
        """Opens the set.

        Args:
          folder: That holds features.json.
          split: Of the set.

        Raises:
          UserError: if it cannot be read, or holds no images.
        """
        self.folder = folder
        builder = open_folder(folder)
        features = builder.info.features
        if split not in builder.info.splits:
            raise UserError(
                f"--split={split}: {folder} has {', '.join(builder.info.splits)}; "
                "choose one of these"
            )
        check_features(str(folder), features)
        self._records = open_records(builder, split)
        self._decode = make_decoder(features, features["image"].shape[-1] or 3)
        self.class_names = names_of_classes(class_label(features))
        self.num_bytes = self._count_bytes(builder.info.splits[split].filepaths)
        first = self._read_records([0])[0][0]
        self.shape = (len(self._records), *first.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns images uint8 [n, h, w, C] and their classes int64 [n].

        Raises:
          UserError: if an image is damaged, or of another size than the first.
        """
        decoded = self._read_records(rows.tolist())
        for row, (image, _) in zip(rows, decoded, strict=True):
            if image.shape != self.shape[1:]:
                raise UserError(
                    f"{self.folder}: image {row} is {list(image.shape)}, and the first "
                    f"{list(self.shape[1:])}; make them one size by prepare_data"
                )
        images, labels = zip(*decoded, strict=True)
        return np.stack(images), np.array(labels)

    def _count_bytes(self, paths: Sequence[Any]) -> int:
        try:
            return sum(Path(path).stat().st_size for path in paths)
        except OSError as error:
            raise _unreadable(self.folder, error) from error

    def _read_records(self, rows: list[int]) -> list[tuple[np.ndarray, int]]:
        try:
            return [self._decode(r) for r in self._records.__getitems__(rows)]
        except UserError:
            raise
        except Exception as error:  # Whatever damaged bytes bring about.
            raise _unreadable(self.folder, error) from error


def _unreadable(folder: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:200]
    return UserError(f"{folder}: cannot be read ({reason}); prepare it again")


@dataclass(frozen=True)
class StoredSet:
    """An image set on disk.

    Attributes:
      folder: That the user named.
      levels: By side, the largest first.
      missing: Sides of the levels that should be there.
      num_classes: 0 without labels.
      class_names: In the order of the class numbers; () where they are not known.
      labels: Classes int32 [n] that training takes; None of a TFDS set.
    """

    folder: Path
    levels: Mapping[int, StoredLevel]
    missing: tuple[int, ...]
    num_classes: int
    class_names: tuple[str, ...]
    labels: np.ndarray | None

    @property
    def largest(self) -> StoredLevel:
        """Returns the largest level."""
        return self.levels[max(self.levels)]

    def read(self, side: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns images of a level, and the classes that training takes for them."""
        pixels, stored = self.levels[side].read(rows)
        return pixels, stored if self.labels is None else self.labels[rows]

    def chunks(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Yields `rows` in pieces whose images take little memory."""
        image_bytes = int(np.prod(self.largest.shape[1:]))
        size = min(max(_CHUNK_BYTES // image_bytes, 1), _CHUNK_IMAGES)
        for start in range(0, len(rows), size):
            yield rows[start : start + size]


def draw_rows(length: int, most: int | None) -> np.ndarray:
    """Returns at most `most` indices below `length`, drawn evenly; all if None."""
    num = length if most is None else min(length, most)
    return np.linspace(0, length - 1, num).astype(np.int64)


def open_stored(folder: Path, split: str = "train") -> StoredSet:
    """Opens a prepared pyramid DIR/NAME, or a TFDS set, in its newest version.

    Raises:
      UserError: if the folder is neither, or it is damaged.
    """
    if is_pyramid(folder):
        return _open_pyramid(folder, split)
    version = folder if (folder / "features.json").exists() else newest_version(folder)
    if version is None:
        raise UserError(
            f"{folder}: it holds neither a prepared set ({RECORD}) nor a TFDS set "
            "(features.json); name DIR/NAME of one"
        )
    level = StoredLevel(version, split)
    names = level.class_names
    return StoredSet(folder, {level.shape[1]: level}, (), len(names), names, None)


def _open_pyramid(folder: Path, split: str) -> StoredSet:
    record, labels = read_description(folder)
    side, num_classes = record["resolution"], record["num_classes"]
    names = tuple(record["class_names"])
    folders = {
        side >> k: folder / level_name(side >> k) / VERSION
        for k in range(side.bit_length() - 2)
    }
    there = {
        r: path for r, path in folders.items() if (path / "features.json").exists()
    }
    if not there:
        raise UserError(f"{folder}: none of its levels is there; prepare it again")
    levels = {r: StoredLevel(path, split) for r, path in there.items()}
    if len(labels) != len(levels[max(levels)]):
        raise UserError(
            f"{folder}: {LABELS} holds {len(labels):,} labels, and level {max(levels)} "
            f"{len(levels[max(levels)]):,} images; prepare it again"
        )
    missing = tuple(r for r in folders if r not in there)
    return StoredSet(folder, levels, missing, num_classes, names, labels)
