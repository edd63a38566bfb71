import hashlib
import json
import os
from contextlib import suppress

import numpy as np
import pytest

from progan_jax.errors import UserError
from progan_jax.inference.snapshot import (
    digest,
    find_snapshot,
    list_snapshots,
    moment_name,
    parse_moment,
    read_snapshot,
    read_trained,
    write_best,
    write_snapshot,
)

PARAMS = {
    "block_4x4": {"conv": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}},
    "to_rgb_4x4": {"bias": np.float32([1, 2])},
}
OPTIONS = {"options": {"latent_size": 8}}
HALF = {"stage": {"alpha": 0.5}, **OPTIONS}


def write(run, *names):
    for name in names:
        stage = {"nimg": int(name[:6])}
        write_snapshot(run / "snapshots" / name, PARAMS, {"stage": stage, **OPTIONS})


def test_parameters_and_description_are_read_as_written(tmp_path):
    folder = tmp_path / "000010_r004"
    described = {"family": "progan", "stage": {"nimg": 10_000}, **OPTIONS}
    write_snapshot(folder, PARAMS, described)
    params, info = read_snapshot(folder)
    np.testing.assert_array_equal(
        params["block_4x4"]["conv"]["kernel"], PARAMS["block_4x4"]["conv"]["kernel"]
    )
    assert params.keys() == PARAMS.keys()
    data = (folder / "generator.safetensors").read_bytes()
    hashes = {"generator.safetensors": hashlib.sha256(data).hexdigest()}
    assert info.pop("checksum")
    assert info == {"version": 2, "sha256": hashes, **described}


def test_scalars_stay_scalars(tmp_path):
    write_snapshot(tmp_path / "000001_r004", {"gain": np.float32(2)}, {})
    params, _ = read_snapshot(tmp_path / "000001_r004")
    assert params["gain"].shape == ()


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


def test_a_folder_that_may_not_be_read_is_one_line(tmp_path, monkeypatch):
    def deny(path):
        raise PermissionError(13, "Permission denied", str(path))

    write(tmp_path, "000010_r004")
    monkeypatch.setattr("pathlib.Path.exists", deny)
    with pytest.raises(
        UserError, match=r"RUN=.* cannot be read \(Permission denied\);"
    ):
        find_snapshot(tmp_path)


def test_snapshots_are_listed_by_kimg_then_resolution(tmp_path):
    names = ["000002_r004", "000010_r004", "000010_r008", "1000000_r1024"]
    write(tmp_path, *reversed(names))
    (tmp_path / "snapshots" / ".000011_r008.partial").mkdir()
    assert [p.name for p in list_snapshots(tmp_path)] == names


def test_names_of_moments_sort_by_time_as_text_and_none_is_given_twice():
    moments = [(0, 4), (64, 4), (4000, 4), (4016, 8), (5000, 8), (12_000_256, 1024)]
    names = [moment_name(*moment) for moment in moments]
    assert names[3] == "000004.016_r008"
    assert sorted(set(names)) == names
    assert [parse_moment(n) for n in names] == [(n / 1000, r) for n, r in moments]


def test_integer_kimg_in_names_of_earlier_runs_are_ordered_with_the_others(tmp_path):
    names = ["000003.968_r004", "000004_r004", "000004.016_r008", "000005_r008"]
    write(tmp_path, *reversed(names))
    for other in ("5_r008", "000005.1_r008", "000005_r008.old"):
        (tmp_path / "snapshots" / other).mkdir()
    assert [p.name for p in list_snapshots(tmp_path)] == names
    assert find_snapshot(tmp_path, "000004_r004").name == "000004_r004"


def test_the_newest_is_found_or_the_named_one(tmp_path):
    write(tmp_path, "000002_r004", "000010_r008")
    assert find_snapshot(tmp_path).name == "000010_r008"
    assert find_snapshot(tmp_path, "000002_r004").name == "000002_r004"
    folder = tmp_path / "snapshots" / "000002_r004"
    assert find_snapshot(folder) == folder
    assert find_snapshot(folder, "000002_r004") == folder
    with pytest.raises(UserError, match=r"--snapshot=best: .* is itself a snapshot"):
        find_snapshot(folder, "best")


def test_no_changed_byte_of_the_name_of_the_best_names_another(tmp_path):
    names = [f"000000.{nimg}_r008" for nimg in ("064", "065", "164")]
    for name in names:
        write_snapshot(tmp_path / "snapshots" / name, PARAMS, {"nimg": 64})
    write_best(tmp_path, names[0])
    path = tmp_path / "snapshots" / "best"
    whole = path.read_bytes()
    assert find_snapshot(tmp_path, "best").name == names[0]
    for place in range(len(whole)):
        for bit in range(8):
            changed = bytearray(whole)
            changed[place] ^= 1 << bit
            path.write_bytes(changed)
            with suppress(UserError):
                assert find_snapshot(tmp_path, "best").name == names[0]
    path.write_bytes(whole.replace(b"064", b"065"))
    with pytest.raises(UserError, match="best has changed since it was written"):
        find_snapshot(tmp_path, "best")
    path.write_text(names[1] + "\n")  # As earlier versions wrote it.
    assert find_snapshot(tmp_path, "best").name == names[1]


def test_what_is_not_there_is_named_with_a_fix(tmp_path):
    with pytest.raises(
        UserError, match="there is no such folder; name a run's workdir"
    ):
        find_snapshot(tmp_path / "none")
    with pytest.raises(UserError, match="it is neither a run nor a snapshot"):
        find_snapshot(tmp_path)
    (tmp_path / "config.json").touch()
    with pytest.raises(UserError, match="it holds no snapshot yet"):
        find_snapshot(tmp_path)
    write(tmp_path, "000002_r004")
    with pytest.raises(UserError, match="no such snapshot; choose from 000002_r004"):
        find_snapshot(tmp_path, "000003_r004")


def make_version_1(folder):
    """Makes a snapshot what programs before version 2 have written."""
    info = json.loads((folder / "snapshot.json").read_text())
    for name in ("sha256", "checksum"):
        del info[name]
    first = {"version": 1, "model": info.pop("options"), **info.pop("stage")}
    (folder / "snapshot.json").write_text(json.dumps(info | first))


@pytest.mark.parametrize("name", ["generator.safetensors", "snapshot.json"])
def test_a_damaged_snapshot_is_named(tmp_path, name):
    write(tmp_path, "000002_r004")
    folder = tmp_path / "snapshots" / "000002_r004"
    make_version_1(folder)
    (folder / name).write_bytes(b"{")
    with pytest.raises(UserError, match=rf"{folder} cannot be read \(.*; restore it"):
        read_snapshot(folder)


def test_snapshots_of_version_1_are_read_without_checksums(tmp_path):
    write_snapshot(tmp_path / "a", PARAMS, HALF, {"G": PARAMS, "D": PARAMS})
    make_version_1(tmp_path / "a")
    params, info = read_snapshot(tmp_path / "a")
    np.testing.assert_array_equal(params["to_rgb_4x4"]["bias"], [1, 2])
    assert info == {"version": 1, "carries_trained": True, **HALF}
    assert read_trained(tmp_path / "a").keys() == {"G", "D"}
    data = (tmp_path / "a" / "generator.safetensors").read_bytes()
    assert digest(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_no_flipped_bit_of_any_file_is_read_in_silence(tmp_path):
    folder = tmp_path / "000002_r004"
    write_snapshot(folder, PARAMS, HALF, {"G": PARAMS, "D": PARAMS})
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        for position in range(len(whole)):
            bit = 1 << position % 8
            changed = bytes([whole[position] ^ bit])
            path.write_bytes(whole[:position] + changed + whole[position + 1 :])
            try:
                found, info = read_snapshot(folder)
                read_trained(folder)
            except UserError as error:
                assert str(folder) in str(error)
                assert "\n" not in str(error)
            else:  # Between the fields of JSON, one kind of space is as good.
                assert path.name == "snapshot.json"
                assert whole[position : position + 1].isspace()
                assert changed.isspace()
                assert info["stage"]["alpha"] == 0.5
                np.testing.assert_array_equal(found["to_rgb_4x4"]["bias"], [1, 2])
        path.write_bytes(whole)


def test_what_has_changed_is_named_with_what_to_do(tmp_path):
    folder = tmp_path / "000002_r004"
    for name in ("generator.safetensors", "snapshot.json"):
        write_snapshot(folder, PARAMS, HALF)
        text = (folder / name).read_bytes()
        text = text.replace(b"0.5", b"0.7").replace(np.float32(2), np.float32(3))
        (folder / name).write_bytes(text)
        message = f"snapshot {folder}: {name} has changed since it was written .*; rest"
        with pytest.raises(UserError, match=message):
            read_snapshot(folder)


def test_what_is_read_can_be_written_again_under_its_own_checksums(tmp_path):
    write_snapshot(tmp_path / "a", PARAMS, HALF, {"G": PARAMS, "D": PARAMS})
    make_version_1(tmp_path / "a")
    params, info = read_snapshot(tmp_path / "a")
    write_snapshot(tmp_path / "b", {"bias": np.float32([3])}, info)
    params, info = read_snapshot(tmp_path / "b")
    np.testing.assert_array_equal(params["bias"], [3])
    assert (info["version"], info["sha256"].keys()) == (2, {"generator.safetensors"})
    assert read_trained(tmp_path / "b") == {}  # The new one carries none.


def test_unfinished_snapshots_of_a_killed_run_are_removed_at_the_next_one(tmp_path):
    left = tmp_path / "snapshots" / ".000001_r004.partial"
    kept = tmp_path / "snapshots" / ".mine.partial"
    for folder in (left, kept):
        folder.mkdir(parents=True)
    write(tmp_path, "000002_r004")
    assert not left.exists()
    assert kept.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"version": 3}', "is of version 3, and this progan_jax reads up to 2"),
        (
            '{"version": 2}',
            "has no checksum in its snapshot.json, which version 2 req",
        ),
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
