"""The disk space that a run will need."""

import collections

import pytest

from progan_jax.errors import UserError
from progan_jax.training import disk
from progan_jax.training.disk import check_disk


def disk_of(free_mib, monkeypatch):
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(
        disk.shutil, "disk_usage", lambda path: usage(0, 0, int(free_mib * 2**20))
    )


def test_a_disk_without_room_is_refused(tiny_config, tmp_path, monkeypatch):
    tiny_config.model.fmap_base = 8192
    tiny_config.model.fmap_max = 512
    disk_of(100, monkeypatch)
    with pytest.raises(UserError) as error:
        check_disk(tiny_config, tmp_path / "run", 1)
    message = str(error.value)
    assert "has 100 MiB free and the run needs about" in message
    assert "lower config.train.keep_checkpoints" in message
    assert "\n" not in message


def test_what_a_run_has_written_needs_no_room_again(tiny_config, tmp_path, monkeypatch):
    tiny_config.train.keep_checkpoints = 50
    disk_of(1, monkeypatch)
    with pytest.raises(UserError, match="has 1 MiB free"):
        check_disk(tiny_config, tmp_path, 1)
    (tmp_path / "checkpoints").write_bytes(bytes(5 * 2**20))
    check_disk(tiny_config, tmp_path, 1)


def test_a_disk_with_room_passes(tiny_config, tmp_path, monkeypatch):
    disk_of(100, monkeypatch)
    check_disk(tiny_config, tmp_path / "deep" / "new" / "run", 1)
