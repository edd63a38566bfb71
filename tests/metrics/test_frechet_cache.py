"""The cache of the statistics of real images, and its files."""

from pathlib import Path

import numpy as np
import pytest

from progan_jax.metrics.frechet import (
    cached_statistics,
    read_statistics,
    statistics_of,
    write_statistics,
)
from progan_jax.weights.weight_files import cache_dir

KEY = {"dataset": "abc", "num_images": 100, "mirror": False}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PROGAN_JAX_CACHE", str(tmp_path))
    return tmp_path


class Compute:
    """Makes statistics whose mean is the number of times it was called."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return statistics_of(np.full((3, 2), float(self.calls)))


def test_statistics_are_computed_once(cache):
    compute = Compute()
    for _ in range(3):
        assert cached_statistics(KEY, compute).mean[0] == 1
    assert compute.calls == 1
    assert len(list(cache.rglob("*.npz"))) == 1


@pytest.mark.parametrize("field", KEY)
def test_another_value_of_any_field_is_computed_by_itself(cache, field):
    compute = Compute()
    cached_statistics(KEY, compute)
    assert cached_statistics(KEY | {field: 7}, compute).mean[0] == 2
    assert cached_statistics(KEY, compute).mean[0] == 1


def test_a_damaged_file_is_replaced_with_a_warning(cache, capsys):
    compute = Compute()
    cached_statistics(KEY, compute)
    (path,) = cache.rglob("*.npz")
    path.write_bytes(path.read_bytes()[:200])
    assert cached_statistics(KEY, compute).mean[0] == 2
    assert f"{path.name} cannot be read" in capsys.readouterr().err
    assert cached_statistics(KEY, compute).mean[0] == 2


def test_a_file_under_the_wrong_name_is_not_used(cache, capsys):
    compute = Compute()
    cached_statistics(KEY, compute)
    (path,) = cache.rglob("*.npz")
    cached_statistics(KEY | {"mirror": True}, compute)
    (other_path,) = set(cache.rglob("*.npz")) - {path}
    path.write_bytes(other_path.read_bytes())
    assert cached_statistics(KEY, compute).mean[0] == 3
    assert "has statistics of other images" in capsys.readouterr().err


def test_a_cache_that_cannot_be_written_is_only_a_warning(cache, capsys):
    (cache / "statistics").write_text("in the way")
    assert cached_statistics(KEY, Compute()).mean[0] == 1
    assert "are not cached" in capsys.readouterr().err


def test_files_of_earlier_versions_are_read(tmp_path):
    arrays = {"count": 3, "mean": np.ones(2), "scatter": np.eye(2)}
    np.savez(tmp_path / "a.npz", key="a", extractor="inception/2048 tf1", **arrays)
    assert read_statistics(tmp_path / "a.npz", "a").count == 3


def test_no_flipped_bit_of_a_file_is_read_in_silence(tmp_path):
    path = tmp_path / "a.npz"
    written = statistics_of(np.random.default_rng(0).standard_normal((5, 2)))
    write_statistics(path, "key", written)
    data, noticed = path.read_bytes(), 0
    for position in range(len(data)):
        changed = bytes([data[position] ^ 1 << position % 8])
        path.write_bytes(data[:position] + changed + data[position + 1 :])
        try:
            found = read_statistics(path, "key")
        except Exception:
            noticed += 1
        else:  # Dates and such, which do not matter.
            assert found.count == 5
            np.testing.assert_array_equal(found.mean, written.mean)
            np.testing.assert_array_equal(found.covariance, written.covariance)
    assert noticed > len(data) / 2


def test_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("PROGAN_JAX_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_dir() == Path("/home/someone/.cache/progan_jax")
    monkeypatch.setenv("XDG_CACHE_HOME", "/fast")
    assert cache_dir() == Path("/fast/progan_jax")
    monkeypatch.setenv("PROGAN_JAX_CACHE", "~/mine")
    assert cache_dir() == Path("/home/someone/mine")
