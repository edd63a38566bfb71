"""The reader of PyTorch's files: arrays come out, and nothing is called."""

import os
import pickle
import re
import zipfile

import numpy as np
import pytest

from progan_jax.errors import UserError
from progan_jax.weights.torch_files import read_pth


def test_arrays_of_all_types_and_orders_are_read_as_they_were_written(
    write_pth, tmp_path
):
    random = np.random.default_rng(0)
    arrays = {
        "float": random.normal(size=(2, 3, 4)).astype(np.float32),
        "half": random.normal(size=5).astype(np.float16),
        "count": np.array(7, np.int64),
        "transposed": random.normal(size=(3, 4)).astype(np.float32).T,
    }
    path = write_pth(tmp_path / "a.pth", arrays)
    read = read_pth(path)
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


def test_a_file_of_python_2_is_read(write_pth, tmp_path):
    """As lpips' vgg.pth: text without an encoding, dictionaries made of pairs."""
    arrays = {name: np.full(3, name == "b", np.float32) for name in "ab"}
    data = write_pth(tmp_path / "a.pth", arrays, pairs=True).read_bytes()
    # X and four bytes of length become U and one.
    short = re.sub(
        rb"X(.)\0\0\0(?=[\w.]+)", lambda m: b"U" + m[1], data, flags=re.DOTALL
    )
    assert short.count(b"U\x07storage") and b"X\x07" not in short
    (tmp_path / "a.pth").write_bytes(short)
    read = read_pth(tmp_path / "a.pth")
    assert {name: array.tolist() for name, array in read.items()} == {
        name: array.tolist() for name, array in arrays.items()
    }


class Harm:
    def __reduce__(self):
        return os.mkdir, ("harm",)


def test_a_file_that_calls_a_function_is_refused_uncalled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pth").write_bytes(pickle.dumps(Harm()))
    with pytest.raises(UserError, match=r"asks for (posix|nt)\.mkdir"):
        read_pth(tmp_path / "a.pth")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("damage", ["cut", "header", "count"])
def test_damage_is_one_clear_line(write_pth, tmp_path, damage):
    array = np.ones((8, 8), np.float32)
    data = write_pth(tmp_path / "a.pth", {"a": array}).read_bytes()
    place = len(data) - array.nbytes - 8
    damaged = {
        "cut": data[:-8],
        "header": data[8:],
        "count": data[:place] + b"\x41" + data[place + 1 :],
    }[damage]
    (tmp_path / "a.pth").write_bytes(damaged)
    with pytest.raises(UserError, match=r"a\.pth is not a state dictionary"):
        read_pth(tmp_path / "a.pth")


def test_a_tensor_beyond_its_storage_is_refused(write_pth, tmp_path):
    path = write_pth(tmp_path / "a.pth", {"a": np.ones(4, np.float32).reshape(2, 2)})
    data = path.read_bytes()
    # The shape (2, 2) is pickled as two small integers and TUPLE2: make it (9, 2).
    assert data.count(b"K\x02K\x02\x86") == 1
    path.write_bytes(data.replace(b"K\x02K\x02\x86", b"K\x09K\x02\x86"))
    with pytest.raises(UserError, match="beyond its storage"):
        read_pth(path)


def test_the_later_zip_form_is_named(tmp_path):
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", b"")
    with pytest.raises(UserError, match=r"zip form.*_use_new_zipfile_serialization"):
        read_pth(path)


def test_a_tensor_with_steps_of_zero_is_not_made_larger_than_its_file(
    write_pth, tmp_path
):
    path = write_pth(tmp_path / "a.pth", {"a": np.ones(4, np.float32).reshape(2, 2)})
    data = path.read_bytes()
    # The shape (2, 2) becomes (2**30, 2), and its strides (2, 1) become (0, 1).
    shape, strides = b"K\x02K\x02\x86", b"K\x02K\x01\x86"
    assert (data.count(shape), data.count(strides)) == (1, 1)
    large = b"J\x00\x00\x00\x40K\x02\x86"
    path.write_bytes(data.replace(shape, large).replace(strides, b"K\x00K\x01\x86"))
    with pytest.raises(UserError, match="unpacks to more than 4 times its size"):
        read_pth(path)


def test_thousands_of_tensors_of_one_storage_are_not_copied_out(write_pth, tmp_path):
    kept = np.ones((256, 1024), np.float32)
    path = write_pth(tmp_path / "a.pth", {f"{n:04d}": kept for n in range(2000)})
    assert path.stat().st_size < 2 * kept.nbytes
    with pytest.raises(UserError, match="unpacks to more than 4 times its size"):
        read_pth(path)


def test_shared_arrays_are_read_under_each_of_their_names(write_pth, tmp_path):
    kept = np.arange(4, dtype=np.float32)
    path = write_pth(tmp_path / "a.pth", {"a": kept, "b": kept + 1, "c": kept})
    read = read_pth(path)
    np.testing.assert_array_equal(read["a"], kept)
    np.testing.assert_array_equal(read["b"], kept + 1)
    np.testing.assert_array_equal(read["c"], kept)
