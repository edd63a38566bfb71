"""The class of each image file: by its folder, a CSV file, or a dataset.json."""

import csv
import json
import os
import posixpath
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from progan_jax.data.names import counted, first_few, in_order, normal, printable
from progan_jax.errors import UserError

_MOST_CLASSES = 100_000  # A larger number is no class, but an identity of some kind.

# Folders that are seldom classes: splits, such as val2017 and training_masks, and
# parts, such as 00000 and 00001. One "train" alone is a class beside "bus" and "car".
_SPLIT = re.compile(
    # Those of sets of two domains, as CycleGAN's, are trainA and trainB.
    r"(train(ing)?|val(id(ation)?)?|test(ing)?|dev)(set)?[ab]?(?![a-z]).*",
    re.DOTALL,
)

_PART = re.compile(r"[0-9]{5,}")


@dataclass(frozen=True)
class Classes:
    """The classes of some files.

    Attributes:
      labels: Class of each file; 0 without classes.
      names: In the order of the class numbers; () where they are not known.
      remark: What the user should know of them, "" for nothing.
    """

    labels: list[int]
    names: tuple[str, ...] = ()
    remark: str = ""

    @property
    def num_classes(self) -> int:
        """0 without classes."""
        return max(self.labels) + 1 if any(self.labels) else 0


def common_folder(names: Sequence[str]) -> str:
    """Returns the folders that all files lie in, such as "" or "pets/train/"."""
    shared = os.path.commonprefix(  # noqa: RUF071 (of lists of parts)
        [split_path(name)[:-1] for name in names]
    )
    return "".join(f"{part}/" for part in shared)


def classes_of_folders(names: Sequence[str], where: str) -> Classes:
    """Returns the classes that the first folders are, below what all files lie in.

    Without two such folders, and with files beside them, there are none.

    Raises:
      UserError: if two folders differ in a way that people cannot see.
    """
    depth = common_folder(names).count("/")
    folders = [tuple(split_path(name)[depth:-1]) for name in names]
    if () in folders:
        return Classes([0] * len(names), (), _remark_beside(names, folders))
    known = sorted({parts[0] for parts in folders}, key=in_order)
    numbers = {folder: number for number, folder in enumerate(known)}
    class_names = _class_names(known, where)
    remark = _remark_splits(class_names) or _remark_within(class_names, folders)
    return Classes([numbers[parts[0]] for parts in folders], class_names, remark)


def _remark_beside(names: Sequence[str], folders: Sequence[tuple[str, ...]]) -> str:
    """Returns what to say of images that take the classes from a set, if any do."""
    known = sorted({"/".join(parts) for parts in folders if parts}, key=in_order)
    if len(known) < 2:
        return ""
    lie, them = ("lies", "it") if folders.count(()) == 1 else ("lie", "them")
    beside = [n for n, parts in zip(names, folders, strict=True) if not parts]
    return (
        f"{first_few(beside, 1)} {lie} beside folders of images ({first_few(known)}), "
        f"so that the set has no classes; if the folders are classes, move {them} "
        "away, or give --labels=FILE.csv"
    )


def _remark_splits(known: Sequence[str]) -> str:
    splits = sum(_SPLIT.fullmatch(folder.lower()) is not None for folder in known)
    if splits < 2 and not all(map(_PART.fullmatch, known)):
        return ""
    return (
        f"its folders {first_few(known)} are taken for classes; if they are splits or "
        "parts of the set, prepare one alone, or train with "
        "--config.model.num_classes=0"
    )


def _remark_within(known: Sequence[str], folders: Sequence[tuple[str, ...]]) -> str:
    within = sorted({"/".join(parts[:2]) for parts in folders if parts[1:]})
    # Of one name, as in cat/images and dog/images, they are no classes.
    if len({parts[1] for parts in folders if parts[1:]}) < 2:
        return ""
    return (
        f"its folders {first_few(known)} are taken for classes, and those within them "
        f"({first_few(within)}) are not; if those are the classes, move all of them "
        "into one folder with nothing else, or give --labels=FILE.csv"
    )


def _class_names(folders: Sequence[str], where: str) -> tuple[str, ...]:
    # TFDS keeps names in lines of text, without blanks around them.
    names = [printable(folder).strip() or repr(folder) for folder in folders]
    (name, count), *_ = Counter(names).most_common()
    if count > 1:
        raise UserError(
            f"{where}: {count} folders of classes are called {name!r}, in other bytes; "
            "merge them, or rename all but one"
        )
    return tuple(names)


def classes_of_table(path: Path, names: Sequence[str]) -> Classes:
    """Reads a CSV file of file,class for every image, and for no other.

    Raises:
      UserError: if it cannot be read, or holds other lines.
    """
    where = f"--labels={path}"
    rows = list(_rows(path, where))
    wrong = {_spelling(name) for name, _ in rows} - set(map(_spelling, names))
    if wrong:
        raise UserError(
            f"{where}: {min(wrong)!r} is no image of the source{_and_more(wrong)}; an "
            f"image is called {names[0]!r}; correct the file"
        )
    return Classes(_match(rows, names, where))


def _match(
    rows: Sequence[tuple[str, int]], names: Sequence[str], where: str
) -> list[int]:
    """Returns the class of each file; UserError without one, or with two."""
    counts = Counter(_spelling(name) for name, _ in rows)
    labels = {_spelling(name): label for name, label in rows}
    for kind, wrong in (
        ("stands there more than once", {n for n in counts if counts[n] > 1}),
        ("is missing", set(map(_spelling, names)) - labels.keys()),
    ):
        if wrong:
            raise UserError(
                f"{where}: {min(wrong)!r} {kind}{_and_more(wrong)}; correct the file"
            )
    return [labels[_spelling(name)] for name in names]


def _and_more(names: Collection[str]) -> str:
    return f", the first of {len(names):,} such files" if len(names) > 1 else ""


def _spelling(name: str) -> str:
    r"""Returns the one spelling of a path: a/b of ./a/b, a//b and a\b."""
    return normal("/".join(split_path(name)))


def _rows(path: Path, where: str) -> Iterator[tuple[str, int]]:
    """Yields the lines of a CSV file of file,class."""
    try:
        # Names in it that are not UTF-8 become what the system's calls return for them.
        with path.open(
            newline="", encoding="utf-8-sig", errors="surrogateescape"
        ) as file:
            lines = csv.reader(file)
            for row in filter(None, lines):
                yield _parse_row(row, f"{where}: line {lines.line_num}")
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(
            f"{where}: cannot be read ({error}); write lines file,class"
        ) from error


def _parse_row(row: list[str], line: str) -> tuple[str, int]:
    if len(row) != 2:
        raise UserError(f"{line}: it must be file,class; correct the file")
    name, label = row
    # Programs that keep numbers as floats write 3.0 for 3.
    label = re.sub(r"(?<=\d)\.0*\s*$", "", label)
    if not re.fullmatch(r"\s*\d+\s*", label, re.ASCII):
        raise UserError(
            f"{line}: {label!r} is no class number; write lines file,class, without a "
            "header, with classes from 0 on"
        )
    if len(label) > 9 or int(label) >= _MOST_CLASSES:
        raise UserError(
            f"{line}: class {label} must be below {_MOST_CLASSES:,}; number the "
            "classes from 0 on"
        )
    return name, int(label)


def classes_of_json(
    data: bytes, names: Sequence[str], folder: str, where: str
) -> Classes:
    """Reads the labels of a dataset.json, as StyleGAN2-ADA's dataset_tool writes it.

    It holds {"labels": [["00000/img00000000.png", 3], ...]}, or null for no labels. A
    class may be a whole number, or a vector with one 1 at that place.

    Args:
      data: The file.
      names: Of the images.
      folder: That it lies in, and that its names start from: "" or "pets/".
      where: Its path, for messages.

    Raises:
      UserError: if it holds something else, or no label for an image.
    """
    none = [0] * len(names)
    labels = _parse_json(data, where)
    if not labels:
        return Classes(none)
    classes = [_class_number(label) for _, label in labels]
    if None in classes:
        wrong = json.dumps(labels[classes.index(None)][1])
        remark = (
            f"{where} has a label that is no class number from 0 to "
            f"{_MOST_CLASSES - 1:,}, {wrong[:40]}, so that the set has no classes; "
            "give --labels=FILE.csv for classes"
        )
        return Classes(none, remark=remark)
    there = set(map(_spelling, names))
    rows = [
        (folder + name, n or 0) for (name, _), n in zip(labels, classes, strict=True)
    ]
    known = [row for row in rows if _spelling(row[0]) in there]
    missing = len(rows) - len(known)
    remark = (
        f"{where} has labels of {counted(missing, 'file')} that "
        f"{'is' if missing == 1 else 'are'} not there"
    )
    return Classes(_match(known, names, where), remark=remark if missing else "")


def _parse_json(data: bytes, where: str) -> list[tuple[str, Any]]:
    try:
        labels: Any = json.loads(data)["labels"] or []
        rows = [(name, label) for name, label in labels]
        if all(isinstance(name, str) for name, _ in rows):
            return rows
    except (ValueError, LookupError, TypeError, RecursionError):
        pass
    raise UserError(
        f'{where}: it must hold {{"labels": [["FILE", CLASS], ...]}}, or null for no '
        "labels; correct it, or remove it to take folders for classes"
    )


def _class_number(label: Any) -> int | None:
    """Returns the class of a number or of a one-hot vector; None if it is neither."""
    if isinstance(label, list):
        one_hot = label.count(1) == 1 == len(label) - label.count(0)
        return label.index(1) if one_hot else None
    is_number = isinstance(label, int | float) and not isinstance(label, bool)
    is_class = is_number and 0 <= label < _MOST_CLASSES and label == int(label)
    return int(label) if is_class else None


def split_path(name: str) -> list[str]:
    r"""Returns the parts of a path: a and b of a/b, ./a/b, a//b and a\b.

    Some zip files of Windows hold backslashes.
    """
    return posixpath.normpath(name.replace("\\", "/")).strip("/").split("/")
