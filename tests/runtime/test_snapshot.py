import os

import numpy as np
import pytest

from progan_jax.errors import UserError
from progan_jax.runtime.snapshot import (
    find_snapshot,
    list_snapshots,
    read_snapshot,
    write_snapshot,
)

PARAMS = {
    "block_4x4": {"conv": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}},
    "to_rgb_4x4": {"bias": np.float32([1, 2])},
}


def write(run, *names):
    for name in names:
        write_snapshot(run / "snapshots" / name, PARAMS, {"nimg": int(name[:6])})


def test_parameters_and_description_come_back(tmp_path):
    folder = tmp_path / "000010_r004"
    write_snapshot(folder, PARAMS, {"nimg": 10_000})
    params, info = read_snapshot(folder)
    np.testing.assert_array_equal(
        params["block_4x4"]["conv"]["kernel"], PARAMS["block_4x4"]["conv"]["kernel"]
    )
    assert params.keys() == PARAMS.keys()
    assert info == {"version": 1, "nimg": 10_000}


def test_a_transposed_view_is_written_as_it_reads(tmp_path):
    view = np.arange(6, dtype=np.float32).reshape(2, 3).T
    write_snapshot(tmp_path / "000001_r004", {"a": view}, {})
    params, _ = read_snapshot(tmp_path / "000001_r004")
    np.testing.assert_array_equal(params["a"], view)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o007, 0o660)])
def test_others_may_read_the_weights_where_the_umask_lets_them(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_snapshot(tmp_path / "000001_r004", PARAMS, {})
    finally:
        os.umask(before)
    files = (tmp_path / "000001_r004").iterdir()
    assert {file.stat().st_mode & 0o777 for file in files} == {mode}


def test_writing_again_replaces_and_leaves_nothing_else(tmp_path):
    write(tmp_path, "000010_r004", "000010_r004")
    assert [p.name for p in (tmp_path / "snapshots").iterdir()] == ["000010_r004"]


def test_snapshots_are_listed_by_kimg_then_resolution(tmp_path):
    names = ["000002_r004", "000010_r004", "000010_r008", "1000000_r1024"]
    write(tmp_path, *reversed(names))
    (tmp_path / "snapshots" / ".000011_r008.partial").mkdir()
    assert [p.name for p in list_snapshots(tmp_path)] == names


def test_the_newest_is_found_or_the_named_one(tmp_path):
    write(tmp_path, "000002_r004", "000010_r008")
    assert find_snapshot(tmp_path).name == "000010_r008"
    assert find_snapshot(tmp_path, "000002_r004").name == "000002_r004"
    folder = tmp_path / "snapshots" / "000002_r004"
    assert find_snapshot(folder) == folder
    assert find_snapshot(folder, "000002_r004") == folder
    with pytest.raises(UserError, match=r"--snapshot=best: .* is one snapshot itself"):
        find_snapshot(folder, "best")


def test_what_is_not_there_is_named_with_a_mend(tmp_path):
    with pytest.raises(
        UserError, match="there is no such folder; name a run's workdir"
    ):
        find_snapshot(tmp_path / "none")
    with pytest.raises(UserError, match="it is no run, nor a snapshot"):
        find_snapshot(tmp_path)
    (tmp_path / "config.json").touch()
    with pytest.raises(UserError, match="it holds no snapshot yet"):
        find_snapshot(tmp_path)
    write(tmp_path, "000002_r004")
    with pytest.raises(UserError, match="no such snapshot; choose from 000002_r004"):
        find_snapshot(tmp_path, "000003_r004")


@pytest.mark.parametrize("name", ["generator.safetensors", "snapshot.json"])
def test_a_damaged_snapshot_is_named(tmp_path, name):
    write(tmp_path, "000002_r004")
    folder = tmp_path / "snapshots" / "000002_r004"
    (folder / name).write_bytes(b"{")
    with pytest.raises(UserError, match="cannot be read"):
        read_snapshot(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"version": 2}', "is of version 2, and this progan_jax knows 1; install"),
        ('{"version": "new"}', "cannot be read"),
        ("[]", "cannot be read"),
    ],
)
def test_a_description_of_another_kind_is_refused(tmp_path, text, message):
    (tmp_path / "snapshot.json").write_text(text)
    with pytest.raises(UserError, match=message):
        read_snapshot(tmp_path)


def test_a_discriminators_weights_are_named_so(tmp_path):
    folder = tmp_path / "snapshot"
    write_snapshot(folder, PARAMS, {"network": "D"})
    names = {path.name for path in folder.iterdir()}
    assert names == {"discriminator.safetensors", "snapshot.json"}
    params, _ = read_snapshot(folder)
    assert params.keys() == PARAMS.keys()
