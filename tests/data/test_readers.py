import numpy as np

from progan_jax.data.file_reader import FileReader
from progan_jax.data.readers import (
    DigitsReader,
    Subset,
    SyntheticReader,
    fingerprint,
)
from progan_jax.data.sources import load_digits


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


def test_fingerprints_tell_sources_apart(tmp_path):
    for folder, names in {"a": "123", "b": "123", "c": "12"}.items():
        (tmp_path / folder / "set").mkdir(parents=True)
        for name in names:
            (tmp_path / folder / "set" / f"{name}.png").write_text(name)
    one, same, other = (fingerprint(FileReader(tmp_path / f / "set")) for f in "abc")
    assert one == same
    assert one != other
