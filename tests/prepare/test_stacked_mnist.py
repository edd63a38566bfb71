"""Stacks of digits, against the sequence of draws that the authors' program makes."""

import numpy as np
import pytest

from progan_jax.errors import UserError
from progan_jax.prepare import stacked_mnist
from progan_jax.prepare.readers import fingerprint
from progan_jax.prepare.stacked_mnist import StackedMnistReader


@pytest.fixture
def use(monkeypatch):
    """Makes the reader's digits: so many of random pixels, labelled in turn."""

    def make(count):
        digits = np.random.default_rng(count).integers(0, 256, (count, 32, 32))
        files = digits.astype(np.uint8), np.arange(count, dtype=np.uint8) % 10
        monkeypatch.setattr(stacked_mnist, "read_split", lambda folder, split: files)
        return files

    return make


def test_channels_are_the_digits_that_one_draw_after_the_other_picks(use, tmp_path):
    digits, labels = use(7)
    reader = StackedMnistReader(tmp_path)
    draws = np.random.RandomState(123)
    for index in range(50):
        picked = draws.randint(7, size=3)
        item = reader[index]
        assert item.data.shape == (32, 32, 3)
        for channel, digit in enumerate(picked):
            assert (item.data[..., channel] == digits[digit]).all()
        assert item.label == int("".join(str(labels[digit]) for digit in picked))
        assert reader.class_names[item.label] == "".join(map(str, labels[picked]))
    assert (len(reader), reader.num_classes) == (1_000_000, 1000)


def test_other_digits_are_another_set(use, tmp_path):
    use(7)
    before = fingerprint(StackedMnistReader(tmp_path))
    assert fingerprint(StackedMnistReader(tmp_path)) == before
    use(8)
    assert fingerprint(StackedMnistReader(tmp_path)) != before


def test_missing_files_are_named(tmp_path):
    with pytest.raises(UserError, match="there is no such file"):
        StackedMnistReader(tmp_path)
