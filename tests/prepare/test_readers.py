import os
import zipfile

import numpy as np
import pytest

from progan_jax.data.sources import load_digits
from progan_jax.prepare.file_reader import FileReader
from progan_jax.prepare.readers import (
    DigitsReader,
    Reader,
    Subset,
    SyntheticReader,
    digest_times,
    fingerprint,
    spread,
)


def test_digits_are_those_that_training_knows():
    reader, pyramid = DigitsReader(16), load_digits(16)
    assert len(reader) == 1797
    assert np.array_equal(reader[5].data, pyramid.levels[16][5])
    assert reader[5].label == pyramid.labels[5]


def test_noise_is_a_function_of_the_images_number():
    reader = SyntheticReader(10, 8)
    assert np.array_equal(reader[3].data, SyntheticReader(99, 8)[3].data)
    assert not np.array_equal(reader[3].data, reader[4].data)
    assert reader[3].data.shape == (8, 8, 3)


def test_a_subset_is_some_images_in_their_order():
    reader = Subset(SyntheticReader(10, 8), [7, 2])
    assert (len(reader), reader.name) == (2, "synthetic")
    assert [reader[i].name for i in range(2)] == ["7", "2"]
    assert [reader.name_of(i) for i in range(2)] == ["7", "2"]


class Labelled(Reader):
    """Only classes."""

    def __init__(self, *labels):
        self.labels = np.array(labels)

    def __len__(self):
        return len(self.labels)


@pytest.mark.parametrize("num", [1, 3, 5, 7, 10, 99])
def test_a_choice_of_images_takes_each_class_in_turn(num):
    labels = [0] * 6 + [2] * 1 + [1] * 3
    taken, left = [], {c: [i for i in range(10) if labels[i] == c] for c in range(3)}
    while len(taken) < min(num, 10):
        for images in left.values():
            taken += [images.pop(0)] if images and len(taken) < num else []
    assert spread(Labelled(*labels), num) == sorted(taken)


def test_without_classes_the_first_images_are_chosen():
    assert list(spread(Labelled(0, 0, 0), 2)) == [0, 1]
    assert list(spread(SyntheticReader(10, 8), 3)) == [0, 1, 2]
    assert list(spread(SyntheticReader(2, 8), 3)) == [0, 1]


def test_different_sources_have_different_fingerprints(tmp_path):
    for folder, names in {"a": "123", "b": "123", "c": "12"}.items():
        (tmp_path / folder / "set").mkdir(parents=True)
        for name in names:
            (tmp_path / folder / "set" / f"{name}.png").write_text(name)
    one, same, other = (fingerprint(FileReader(tmp_path / f / "set")) for f in "abc")
    assert one == same
    assert one != other


def make_files(folder, n=40):
    folder.mkdir()
    for index in range(n):
        (folder / f"{index:02d}.png").write_bytes(b"x%d" % index)
    return folder


def test_a_file_that_is_not_sampled_is_seen_by_its_name_its_size_and_its_time(tmp_path):
    folder = make_files(tmp_path / "set")
    before = fingerprint(FileReader(folder)), digest_times(FileReader(folder))
    os.utime(folder / "01.png", ns=(1, 1))
    assert fingerprint(FileReader(folder)) == before[0]
    assert digest_times(FileReader(folder)) != before[1]
    (folder / "01.png").write_bytes(b"longer")
    changed = fingerprint(FileReader(folder))
    assert changed != before[0]
    (folder / "01.png").rename(folder / "01b.png")
    assert fingerprint(FileReader(folder)) != changed


def test_every_class_is_in_the_fingerprint(tmp_path):
    folder, table = make_files(tmp_path / "set"), tmp_path / "labels.csv"
    found = set()
    for odd in range(40):
        table.write_text("".join(f"{i:02d}.png,{int(i == odd)}\n" for i in range(40)))
        found.add(fingerprint(FileReader(folder, table)))
    assert len(found) == 40


def test_every_member_of_a_zip_is_in_the_fingerprint(tmp_path):
    found = set()
    for text in (b"a", b"b"):
        with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
            for index in range(40):
                archive.writestr(f"{index:02d}.png", text if index == 1 else b"x")
        found.add(fingerprint(FileReader(tmp_path / "set.zip")))
    assert len(found) == 2
