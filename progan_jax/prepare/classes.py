"""Classes of image files: from their folders, a CSV file, or a dataset.json."""

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

_MOST_CLASSES = 100_000  # A larger number is an identity of some kind, not a class.

# Folders that are seldom classes: splits such as val2017, training_masks and CycleGAN's
# trainA, and parts such as 00000. "train" alone is a class beside "bus" and "car".
_SPLIT = re.compile(
    r"(train(ing)?|val(id(ation)?)?|test(ing)?|dev)(set)?[ab]?(?![a-z]).*|[0-9]{5,}",
    re.DOTALL,
)


@dataclass(frozen=True)
class Classes:
    """The classes of some files.

    Attributes:
      labels: Class of each file; 0 without classes.
      names: In the order of the class numbers; () if they are not known.
      remark: Warning for the user, or "".
    """

    labels: list[int]
    names: tuple[str, ...] = ()
    remark: str = ""

    @property
    def num_classes(self) -> int:
        """0 without classes."""
        return max(self.labels) + 1 if any(self.labels) else 0


def common_folder(names: Sequence[str]) -> str:
    """Returns the folder that contains all files, such as "" or "pets/train/"."""
    shared = os.path.commonprefix(  # noqa: RUF071 (of lists of parts)
        [split_path(name)[:-1] for name in names]
    )
    return "".join(f"{part}/" for part in shared)


def classes_of_folders(names: Sequence[str], where: str) -> Classes:
    """Returns the classes: the first folders below the one that contains all files.

    There are none with a single such folder, or with files beside the folders.

    Args:
      names: Names of the files.
      where: Path of the source, for messages.

    Raises:
      UserError: if two folders have the same name in different bytes.
    """
    depth = common_folder(names).count("/")
    folders = [tuple(split_path(name)[depth:-1]) for name in names]
    if () in folders:
        return Classes([0] * len(names), (), _remark_beside(names, folders))
    known = sorted({parts[0] for parts in folders}, key=in_order)
    numbers = {folder: number for number, folder in enumerate(known)}
    # TFDS stores the names as lines of text, stripped.
    class_names = tuple(printable(folder).strip() or repr(folder) for folder in known)
    (name, count), *_ = Counter(class_names).most_common()
    if count > 1:  # An accent as a character of its own, or not; see `normal`.
        raise UserError(
            f"{where}: {count} folders of classes are called {name!r}, in different "
            "bytes; merge them, or rename all but one"
        )
    remark = _remark_splits(known) or _remark_within(known, folders)
    return Classes([numbers[parts[0]] for parts in folders], class_names, remark)


def _remark_splits(known: Sequence[str]) -> str:
    """Returns a warning of folders that look like splits or parts, or ""."""
    if sum(_SPLIT.fullmatch(folder.lower()) is not None for folder in known) < 2:
        return ""
    return (
        f"its folders {first_few(known)} become classes; if they are splits or parts "
        "of the set, prepare one alone, or train with --config.model.num_classes=0"
    )


def _remark_within(known: Sequence[str], folders: Sequence[tuple[str, ...]]) -> str:
    """Returns a warning of folders within the classes that may be classes, or ""."""
    within = sorted({"/".join(parts[:2]) for parts in folders if parts[1:]})
    # Folders of a single name, as in cat/images and dog/images, are not classes.
    if len({parts[1] for parts in folders if parts[1:]}) < 2:
        return ""
    return (
        f"its folders {first_few(known)} become classes, and those within them "
        f"({first_few(within)}) do not; if those are the classes, move all of them "
        "into one folder with nothing else, or give --labels=FILE.csv"
    )


def _remark_beside(names: Sequence[str], folders: Sequence[tuple[str, ...]]) -> str:
    """Returns a warning of images beside folders that may be classes, or ""."""
    known = sorted({"/".join(parts) for parts in folders if parts}, key=in_order)
    if len(known) < 2:
        return ""
    beside = [n for n, parts in zip(names, folders, strict=True) if not parts]
    return (
        f"images beside the folders {first_few(known)}: {first_few(beside, 1)}; so the "
        "set has no classes; if the folders are classes, move these images away, or "
        "give --labels=FILE.csv"
    )


def classes_of_table(path: Path, names: Sequence[str]) -> Classes:
    """Reads a CSV file of file,class for every image, and for no other.

    Raises:
      UserError: if it cannot be read, or has other lines.
    """
    where = f"--labels={path}"
    rows = list(_rows(path, where))
    wrong = {_spelling(name) for name, _ in rows} - set(map(_spelling, names))
    if wrong:
        raise UserError(
            f"{where}: {min(wrong)!r} is not an image of the source{_and_more(wrong)}; "
            f"an image is called {names[0]!r}; correct the file"
        )
    return Classes(_match(rows, names, where))


def _match(
    rows: Sequence[tuple[str, int]], names: Sequence[str], where: str
) -> list[int]:
    """Returns the class of each file; raises UserError if it has none, or two."""
    counts = Counter(_spelling(name) for name, _ in rows)
    labels = {_spelling(name): label for name, label in rows}
    for kind, wrong in (
        ("is listed more than once", {n for n in counts if counts[n] > 1}),
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
    r"""Returns the normal form of a path: a/b for ./a/b, a//b and a\b."""
    return normal("/".join(split_path(name)))


def _rows(path: Path, where: str) -> Iterator[tuple[str, int]]:
    """Yields the lines of a CSV file of file,class."""
    try:
        # Names that are not UTF-8 are decoded as those of files are.
        with path.open(
            newline="", encoding="utf-8-sig", errors="surrogateescape"
        ) as file:
            lines = csv.reader(file)
            for row in filter(None, lines):
                # Some programs write 3.0 for 3.
                label = re.fullmatch(r"\s*(\d{1,9})(\.0*)?\s*", row[-1], re.ASCII)
                if len(row) != 2 or not label or int(label[1]) >= _MOST_CLASSES:
                    raise UserError(
                        f"{where}: line {lines.line_num} must be file,class with a "
                        f"class from 0 to {_MOST_CLASSES - 1:,}, and there is no "
                        "header; correct the file"
                    )
                yield row[0], int(label[1])
    except (OSError, csv.Error) as error:
        raise UserError(
            f"{where}: cannot be read ({error}); write lines file,class"
        ) from error


def classes_of_json(
    data: bytes, names: Sequence[str], folder: str, where: str
) -> Classes:
    """Reads the labels of a dataset.json, as StyleGAN2-ADA's dataset_tool.py writes it.

    It has {"labels": [["00000/img00000000.png", 3], ...]}, or null for no labels. A
    class may be a whole number or a one-hot vector.

    Args:
      data: The file.
      names: Names of the images.
      folder: Folder of the file, to which its names are relative: "" or "pets/".
      where: Its path, for messages.

    Raises:
      UserError: if it has another form, or no label for an image.
    """
    none = [0] * len(names)
    labels = _parse_json(data, where)
    if not labels:
        return Classes(none)
    there, rows = set(map(_spelling, names)), []
    missing = 0
    for name, label in labels:
        number = _class_number(label)
        if number is None:
            remark = (
                f"{where} has a label that is not a class number from 0 to "
                f"{_MOST_CLASSES - 1:,}: {json.dumps(label)[:40]}; so the set has no "
                "classes; give --labels=FILE.csv for classes"
            )
            return Classes(none, remark=remark)
        if _spelling(folder + name) in there:
            rows.append((folder + name, number))
        else:
            missing += 1
    remark = f"{where} has labels of {counted(missing, 'missing file')}"
    return Classes(_match(rows, names, where), remark=remark if missing else "")


def _parse_json(data: bytes, where: str) -> list[tuple[str, Any]]:
    try:
        labels: Any = json.loads(data)["labels"] or []
        rows = [(name, label) for name, label in labels]
        if all(isinstance(name, str) for name, _ in rows):
            return rows
    except (ValueError, LookupError, TypeError, RecursionError):
        pass
    raise UserError(
        f'{where}: it must have {{"labels": [["FILE", CLASS], ...]}}, or null for no '
        "labels; correct it, or remove it to take folders as classes"
    )


def _class_number(label: Any) -> int | None:
    """Returns the class of a number or one-hot vector; None if it is neither."""
    if isinstance(label, list):
        one_hot = label.count(1) == 1 == len(label) - label.count(0)
        return label.index(1) if one_hot else None
    is_number = isinstance(label, int | float) and not isinstance(label, bool)
    is_class = is_number and 0 <= label < _MOST_CLASSES and label == int(label)
    return int(label) if is_class else None


def split_path(name: str) -> list[str]:
    r"""Returns the parts of a path: a and b for a/b, ./a/b, a//b and a\b.

    Some zip files of Windows contain backslashes.
    """
    return posixpath.normpath(name.replace("\\", "/")).strip("/").split("/")
