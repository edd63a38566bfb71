"""The cache of the statistics of reals."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from progan_jax.metrics.frechet import (
    FeatureStatistics,
    StatisticsKey,
    cached_statistics,
)
from progan_jax.weights.weight_files import cache_dir

KEY = StatisticsKey(
    dataset="abc",
    num_images=100,
    resolution=32,
    mirror=False,
    tap="2048",
    weights="def",
    resize="tf1",
)
OTHERS = {
    "dataset": "abd",
    "num_images": 101,
    "resolution": 64,
    "mirror": True,
    "tap": "768",
    "weights": "deg",
    "resize": "clean",
}


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
        statistics = FeatureStatistics("x")
        statistics.add(np.full((3, 2), float(self.calls)))
        return statistics


def test_statistics_are_computed_once(cache):
    compute = Compute()
    for _ in range(3):
        assert cached_statistics(KEY, compute).mean[0] == 1
    assert compute.calls == 1
    assert len(list(cache.rglob("*.npz"))) == 1


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(KEY)])
def test_another_value_of_any_field_is_computed_by_itself(cache, field):
    compute = Compute()
    cached_statistics(KEY, compute)
    other = dataclasses.replace(KEY, **{field: OTHERS[field]})
    assert cached_statistics(other, compute).mean[0] == 2
    assert cached_statistics(KEY, compute).mean[0] == 1


def test_a_damaged_file_is_warned_of_and_mended(cache):
    compute = Compute()
    cached_statistics(KEY, compute)
    (path,) = cache.rglob("*.npz")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.warns(UserWarning, match=f"{path.name} cannot be read .* anew"):
        assert cached_statistics(KEY, compute).mean[0] == 2
    assert cached_statistics(KEY, compute).mean[0] == 2


def test_a_file_under_the_wrong_name_is_not_used(cache):
    compute = Compute()
    other = dataclasses.replace(KEY, mirror=True)
    cached_statistics(KEY, compute)
    (path,) = cache.rglob("*.npz")
    cached_statistics(other, compute)
    (other_path,) = set(cache.rglob("*.npz")) - {path}
    path.write_bytes(other_path.read_bytes())
    with pytest.warns(UserWarning, match="holds statistics of"):
        assert cached_statistics(KEY, compute).mean[0] == 3


def test_a_cache_that_cannot_be_written_costs_no_figure(cache):
    (cache / "statistics").write_text("in the way")
    with pytest.warns(UserWarning, match="are not kept"):
        assert cached_statistics(KEY, Compute()).mean[0] == 1


def test_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("PROGAN_JAX_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_dir() == Path("/home/someone/.cache/progan_jax")
    monkeypatch.setenv("XDG_CACHE_HOME", "/fast")
    assert cache_dir() == Path("/fast/progan_jax")
    monkeypatch.setenv("PROGAN_JAX_CACHE", "~/mine")
    assert cache_dir() == Path("/home/someone/mine")
