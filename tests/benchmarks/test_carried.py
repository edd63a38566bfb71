"""What a short run leaves, of limited size, and the folder that it is made again of."""

import hashlib

import numpy as np
import pytest

from benchmarks import carried
from progan_jax.errors import UserError
from tests.run_folder import run

__all__ = ["run"]  # A fixture.


@pytest.fixture
def small(monkeypatch):
    """Limits of kilobytes: parts of 8 KiB, and 64 KiB in all."""
    monkeypatch.setattr(carried, "PART_BYTES", 2**13)
    monkeypatch.setattr(carried, "MOST_BYTES", 2**16)


@pytest.fixture
def trained(run):
    """The run with two checkpoints of 4 kB, and three snapshots of 1 kB."""
    rng = np.random.default_rng(0)
    for step in (4000, 12000):
        folder = run / "checkpoints" / str(step) / "state"
        folder.mkdir(parents=True)
        (folder / "data").write_bytes(rng.bytes(4000))
    names = ["000004_r004", "000008_r008", "000012_r008"]
    for name in names:
        (run / "snapshots" / name).mkdir(parents=True)
        weights = run / "snapshots" / name / "generator.safetensors"
        weights.write_bytes(rng.bytes(1000))
    (run / "snapshots" / "best").write_text(names[0])
    (run / "checkpoints.json").write_text("{}")
    return run


def contents(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def packed(run, tmp_path, *beside):
    out = tmp_path / "out"
    out.mkdir()
    left_out = carried.pack(run, beside, out)
    again = tmp_path / "again"
    carried.unpack(out, again)
    return out, contents(again), left_out


def test_the_newest_and_the_best_come_back_as_they_were(trained, tmp_path):
    _, again, left_out = packed(trained, tmp_path)
    whole = contents(trained)
    gone = {
        "checkpoints/4000/state/data",
        "snapshots/000008_r008/generator.safetensors",
    }
    assert again == {name: of for name, of in whole.items() if name not in gone}
    assert not left_out


def test_files_are_small_and_few(trained, tmp_path, small):
    report = tmp_path / "report.html"
    report.write_bytes(bytes(7000))
    out, again, _ = packed(trained, tmp_path, report, tmp_path / "absent.png")
    sizes = {path.name: path.stat().st_size for path in out.iterdir()}
    assert {"report.html", "run.tar.0", "run.tar.1"} <= sizes.keys()
    assert max(sizes.values()) <= 2**13
    assert sum(sizes.values()) <= 2**16
    assert "checkpoints/12000/state/data" in again


def test_without_room_grids_go_first_and_the_record_stays(
    trained, tmp_path, monkeypatch
):
    monkeypatch.setattr(carried, "MOST_BYTES", 70_000)
    fakes = sorted(path.name for path in (trained / "grids").glob("fakes*"))
    for name in fakes:
        (trained / "grids" / name).write_bytes(bytes(70_000))
    _, again, left_out = packed(trained, tmp_path)
    assert left_out == [f"grids/{name}" for name in reversed(fakes)]
    assert {"config.json", "checkpoints/12000/state/data"} <= again.keys()
    assert {"grids/reals.png", "snapshots/000004_r004/generator.safetensors"} < set(
        again
    )


def test_a_run_goes_on_without_its_snapshots(trained, tmp_path):
    out, _, _ = packed(trained, tmp_path)
    (out / "snapshots.tar").unlink()
    run, second = tmp_path / "third", tmp_path / "second"
    carried.unpack(out, run)
    assert (run / "checkpoints/12000/state/data").exists()
    assert not list((run / "snapshots").glob("*_r*"))
    second.mkdir()
    assert not carried.pack(run, [], second), "what is absent is not left out"


def test_a_checkpoint_without_room_is_reported(trained, tmp_path, small):
    (trained / "checkpoints/12000/state/data").write_bytes(bytes(60_000))
    _, again, left_out = packed(trained, tmp_path)
    assert left_out[0] == "checkpoints/12000"
    assert "config.json" in again


def test_a_file_larger_than_a_part_is_left_out(trained, tmp_path, small):
    report = tmp_path / "report.html"
    report.write_bytes(bytes(9000))
    out, _, _ = packed(trained, tmp_path, report)
    assert not (out / "report.html").exists()


@pytest.mark.parametrize("missing", ["run.tar.0", "run.tar.1"])
def test_parts_that_are_missing_are_one_line(trained, tmp_path, small, missing):
    out = tmp_path / "out"
    out.mkdir()
    carried.pack(trained, [], out)
    (out / missing).unlink()
    with pytest.raises(UserError, match=r"its run\.tar\.0, run\.tar\.1, \.\.\. cannot"):
        carried.unpack(out, tmp_path / "again")
