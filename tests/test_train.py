"""Whole runs: files, one program per resolution, stops and exact resumes."""

import dataclasses
import json
import os
import shutil
import signal

import jax
import numpy as np
import pytest
from PIL import Image

from progan_jax.data import sources
from progan_jax.data.sources import load_digits
from progan_jax.display import page
from progan_jax.display.pictures import list_grids
from progan_jax.errors import DivergedError, UserError
from progan_jax.files import seal
from progan_jax.inference.snapshot import read_snapshot
from progan_jax.prepare.readers import DigitsReader
from progan_jax.prepare.writing import Settings, finish, write_pyramid
from progan_jax.record import Record
from progan_jax.runtime.checkpoint import Checkpoints
from progan_jax.runtime.logging import RunLog
from progan_jax.runtime.mesh import make_mesh
from progan_jax.runtime.newest import read_newest
from progan_jax.runtime.preemption import StopRequest
from progan_jax.train import _Run, check_restored, train
from progan_jax.training.config import make_schedule
from progan_jax.training.stage import StageProgram
from progan_jax.training.start import images_to_fit
from progan_jax.training.state import TrainState
from progan_jax.training.steps import Steps
from progan_jax.training.workdir import exclusive, open_workdir

pytestmark = pytest.mark.usefixtures("shared_programs")

# The checksum of a row is of its times, too.
OF_TIME = ("Timing/", "Memory/", "checksum")


def final_state(config, workdir):
    mesh = make_mesh(jax.devices()[:1])
    schedule = make_schedule(config)

    def abstract(meta):
        program = StageProgram(config, schedule, meta["resolution"], mesh)
        return program.abstract_state()

    with Checkpoints(workdir / "checkpoints", keep=3) as checkpoints:
        state, meta = checkpoints.restore_newest(abstract)
    return jax.device_get(state.replace(key=jax.random.key_data(state.key))), meta


def rows(workdir):
    lines = (workdir / "stats.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def without_timing(workdir):
    return [
        {k: v for k, v in row.items() if not k.startswith(OF_TIME)}
        for row in rows(workdir)
    ]


def grids(workdir):
    return {p.name: p.read_bytes() for p in sorted((workdir / "grids").glob("*.png"))}


def assert_same_run(config, one, other):
    for a, b in zip(
        jax.tree.leaves(final_state(config, one)[0]),
        jax.tree.leaves(final_state(config, other)[0]),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    assert grids(one) == grids(other)
    assert without_timing(one) == without_timing(other)


class Crash(Exception):
    """Stands for a kill: nothing of the loop runs after it."""


def interrupt(monkeypatch, after, action):
    """Calls `action` before the dispatch of that number."""
    run, calls = StageProgram.run, iter(range(1, 10**6))

    def counted(self, *arguments):
        if next(calls) == after:
            action()
        return run(self, *arguments)

    monkeypatch.setattr(StageProgram, "run", counted)


def crash():
    raise Crash


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The run that is never stopped: 4 -> 8 -> 16 with every fade."""
    return tmp_path_factory.mktemp("reference") / "run"


@pytest.fixture
def finished(reference, tiny_config):
    if not reference.exists():
        train(tiny_config, reference)
    return reference


def test_a_run_leaves_every_file_of_the_design(finished, tiny_config):
    names = [row["Progress/kimg"] for row in rows(finished)]
    assert names[-1] == 0.32
    assert {p.name for p in finished.iterdir()} == {
        ".lock",
        "checkpoints",
        "checkpoints.json",
        "config.json",
        "grids",
        "report.html",
        "snapshots",
        "stats.jsonl",
    }
    assert (finished / "grids" / "reals.png").exists()
    assert (finished / "grids" / "fakes_000000.320_r016.png").exists()
    record = json.loads((finished / "config.json").read_text())
    assert record["config"] == tiny_config.to_dict()
    assert record["starts"][0]["versions"]["jax"] == jax.__version__


def test_ticks_below_a_kimg_each_keep_their_grid_and_snapshot(finished):
    names = [
        f"000000.{row['Progress/nimg']:03d}_r{row['Progress/resolution']:03d}"
        for row in rows(finished)
    ]
    assert len(names) == len(set(names)) == 11
    assert sorted(p.name for p in (finished / "snapshots").iterdir()) == names
    start, *shown = [grid.path.name for grid in list_grids(finished / "grids")]
    assert start == "fakes_000000.000_r004.png"
    assert shown == [f"fakes_{name}.png" for name in names]


def test_grids_have_the_final_size_at_every_stage(finished):
    for path in (finished / "grids").glob("*.png"):
        with Image.open(path) as image:
            assert image.size == (4 * 16, 2 * 16)
            assert image.mode == "L"


def test_rows_show_the_schedule_and_finite_scalars(finished, tiny_config):
    schedule = make_schedule(tiny_config)
    for number, row in enumerate(rows(finished), start=1):
        phase = schedule.phase_at(row["Progress/nimg"] - 1)
        assert row["Progress/tick"] == number
        assert row["Progress/resolution"] == phase.resolution
        assert row["Progress/alpha"] == phase.alpha
        assert row["Progress/lod"] == phase.lod
        assert row["Health/skipped"] == 0
        for name in (
            "Loss/real_scores",
            "Loss/fake_scores",
            "Loss/mixed_scores",
            "Loss/mixed_norms",
            "Loss/epsilon_penalty",
            "Loss/d_loss",
            "Loss/g_loss",
            "Health/stddev_fakes",
            "Timing/sec_per_kimg",
            "Timing/eta_sec",
        ):
            assert np.isfinite(row[name]), name
    assert {row["Progress/resolution"] for row in rows(finished)} == {4, 8, 16}


def test_the_state_counts_its_pairs(finished, tiny_config):
    state, meta = final_state(tiny_config, finished)
    assert isinstance(state, TrainState)
    assert meta["nimg"] == 320
    assert state.pairs == 320 // 8


def test_networks_have_learned_something(finished, tiny_config):
    state, _ = final_state(tiny_config, finished)
    mesh = make_mesh(jax.devices()[:1])
    born = StageProgram(tiny_config, make_schedule(tiny_config), 16, mesh).create()
    for name in ("g_params", "d_params", "g_ema"):
        moved = jax.tree.map(
            lambda a, b: float(np.abs(a - b).max()),
            getattr(state, name),
            jax.device_get(getattr(born, name)),
        )
        assert moved["block_4x4"]["conv"]["kernel"] > 1e-4
        assert moved["block_16x16"]["conv0"]["kernel"] > 1e-4


def test_the_newest_snapshot_is_the_average_of_the_state(finished, tiny_config):
    state, _ = final_state(tiny_config, finished)
    newest = sorted((finished / "snapshots").iterdir())[-1]
    params, info = read_snapshot(newest)
    jax.tree.map(np.testing.assert_array_equal, params, state.g_ema)
    assert info["stage"]["nimg"] == 320
    assert info["stage"]["resolution"] == 16
    assert info["stage"]["alpha"] == 1
    assert info["dataset"]["class_names"] == list("0123456789")


def test_optimizers_are_reset_where_each_fade_begins_and_ends(
    tiny_config, tmp_path, monkeypatch
):
    resets, end_tick = [], _Run._end_tick

    def counted(self):
        counts = int(self.state.g_opt.count), int(self.state.d_opt.count)
        resets.append((self.nimg, *counts))
        end_tick(self)

    monkeypatch.setattr(_Run, "_end_tick", counted)
    # Ticks of one quantum of two pairs: every change is seen.
    tiny_config.train.tick_kimg = "0.016"
    train(tiny_config, tmp_path / "run")
    # Pairs since the last reset, at 4x4, in each fade, and after each.
    schedule = make_schedule(tiny_config)
    edges = [0] + [
        edge
        for stage in schedule.stages()[1:]
        for edge in (stage.start_nimg, schedule.fade_end(stage))
    ]
    for nimg, g_count, d_count in resets:
        last = max(edge for edge in edges if edge < nimg)
        assert g_count == d_count == (nimg - last) // 8


@pytest.fixture
def traced(monkeypatch):
    """Resolutions of the programs that are traced, in order."""
    found, run = [], Steps.run

    def counted(self, *arguments):
        found.append(self.generator.resolution)
        return run(self, *arguments)

    monkeypatch.setattr(Steps, "run", counted)
    return found


# Dispatches are of 4 pairs; the run has 10: stable 4x4 (2), fade to 8x8 (2), stable
# (2), fade to 16x16 (2), stable (2), of which the first of a new quantum may be short.
@pytest.mark.parametrize("after", [1, 4, 8])
def test_a_killed_run_continues_bit_for_bit(
    finished, tiny_config, tmp_path, monkeypatch, after
):
    workdir = tmp_path / "run"
    # Fewer checkpoints than ticks, so that ticks are run again.
    tiny_config.train.checkpoint_ticks = 2
    with monkeypatch.context() as patch:
        interrupt(patch, after, crash)
        with pytest.raises(Crash):
            train(tiny_config, workdir)
    train(tiny_config, workdir)
    assert_same_run(tiny_config, finished, workdir)


def test_sigterm_saves_and_one_program_for_each_resolution_continues_bit_for_bit(
    finished, tiny_config, tmp_path, monkeypatch, capsys, traced
):
    workdir = tmp_path / "run"
    # Ticks of 4 pairs and dispatches of up to 3: each tick ends in a short one.
    tiny_config.runtime.pairs_per_dispatch = 3
    with monkeypatch.context() as patch:
        interrupt(patch, 6, lambda: os.kill(os.getpid(), signal.SIGTERM))
        train(tiny_config, workdir)
    # Stopped between the ticks that end at 80 and 112, where the dispatch ended.
    assert (workdir / "checkpoints" / "104").is_dir()
    assert "SIGTERM at 0.104 kimg: state saved" in capsys.readouterr().out
    train(tiny_config, workdir)
    printed = capsys.readouterr()
    assert "row(s)" not in printed.out
    assert printed.err == ""
    assert traced == [4, 8, 16]  # Whatever a dispatch runs.
    # A tick that was cut in two reports its sums once, over both parts.
    assert_same_run(tiny_config, finished, workdir)


@pytest.mark.slow
def test_a_killed_run_with_noise_and_statistics_of_its_batch_continues_bit_for_bit(
    tiny_config, tmp_path, monkeypatch
):
    fitted, choose = [], images_to_fit

    def counted(*arguments):
        reals = choose(*arguments)
        fitted.append(reals is not None)
        return reals

    monkeypatch.setattr("progan_jax.training.stage.images_to_fit", counted)
    # Noise from the first step on, however good the fakes are.
    monkeypatch.setattr("progan_jax.models.progan.ablation._CALM", -0.5)
    tiny_config.model.resolution = 8
    tiny_config.schedule.total_kimg = 0.16
    tiny_config.model.g_norm, tiny_config.model.d_norm = "batch", "layer"
    tiny_config.model.minibatch_discrimination = 3
    tiny_config.loss.kind, tiny_config.loss.noise_coefficient = "lsgan", 0.2
    train(tiny_config, tmp_path / "whole")
    # Past the first checkpoint, in the fade to 8x8.
    with monkeypatch.context() as patch:
        interrupt(patch, 4, crash)
        with pytest.raises(Crash):
            train(tiny_config, tmp_path / "cut")
    train(tiny_config, tmp_path / "cut")
    assert_same_run(tiny_config, tmp_path / "whole", tmp_path / "cut")
    assert fitted == [True, True]  # Once where each of the two began.
    state, _ = final_state(tiny_config, tmp_path / "cut")
    assert 0 < state.loss_state["fake_scores"] <= 1
    last = rows(tmp_path / "cut")[-1]
    assert 0.2 * 0.25 < last["Health/noise_strength"] < 0.2 * 1.5**2


@pytest.mark.slow
def test_a_killed_run_with_the_relativistic_loss_continues_bit_for_bit(
    tiny_config, tmp_path, monkeypatch, traced
):
    """G's steps take real images then, with noise of their own."""
    tiny_config.model.resolution = 8
    tiny_config.schedule.total_kimg = 0.16
    tiny_config.data.dequantise = True
    tiny_config.loss.kind = "relativistic"
    tiny_config.loss.r1_weight = tiny_config.loss.r2_weight = 0.5
    train(tiny_config, tmp_path / "whole")
    assert traced == [4, 8]
    # Past the first checkpoint, in the fade to 8x8.
    with monkeypatch.context() as patch:
        interrupt(patch, 4, crash)
        with pytest.raises(Crash):
            train(tiny_config, tmp_path / "cut")
    train(tiny_config, tmp_path / "cut")
    assert_same_run(tiny_config, tmp_path / "whole", tmp_path / "cut")
    last = rows(tmp_path / "cut")[-1]
    assert last["Loss/r1_penalty"] > 0 and last["Loss/r2_penalty"] > 0


def test_a_damaged_checkpoint_costs_ticks_and_not_exactness(
    finished, tiny_config, tmp_path, monkeypatch
):
    workdir = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt(patch, 8, crash)
        with pytest.raises(Crash):
            train(tiny_config, workdir)
    newest = max((workdir / "checkpoints").iterdir(), key=lambda p: int(p.name))
    for path in newest.rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    train(tiny_config, workdir)
    assert (workdir / "checkpoints" / "damaged" / newest.name).is_dir()
    assert_same_run(tiny_config, finished, workdir)


def test_a_finished_run_has_nothing_left_to_do(finished, tiny_config, capsys):
    before = grids(finished), rows(finished)
    train(tiny_config, finished)
    assert "done" in capsys.readouterr().out
    assert before == (grids(finished), rows(finished))


def test_a_run_may_be_made_longer_and_every_tick_stands_once(
    tiny_config, tmp_path, capsys
):
    workdir = tmp_path / "run"
    # The old end cuts a tick short, which would end at 336 images.
    train(tiny_config, workdir)
    assert rows(workdir)[-1]["Progress/nimg"] == 320
    tiny_config.schedule.total_kimg = 0.384
    train(tiny_config, workdir)
    assert rows(workdir)[-1]["Progress/nimg"] == 384
    assert (
        "1 row(s), at 0.32 kimg, are left out: no tick of the schedule ends there; the "
        "run's previous end may have cut one short\n"
    ) in capsys.readouterr().out
    ticks = [row["Progress/tick"] for row in rows(workdir)]
    assert ticks == list(range(1, len(ticks) + 1))


def test_grids_may_be_deleted(finished, tiny_config, tmp_path, capsys):
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    shutil.rmtree(workdir / "grids")
    train(tiny_config, workdir)
    assert f"see {workdir}" in capsys.readouterr().out


@pytest.fixture
def copied(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def contents(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_changed_stage_in_a_checkpoint_costs_ticks_and_not_exactness(
    finished, copied, tiny_config, capsys
):
    path = copied / "checkpoints" / "320" / "meta" / "metadata"
    path.write_text(path.read_text().replace('"due_nimg": 192', '"due_nimg": 200'))
    train(tiny_config, copied)
    printed = capsys.readouterr().err
    assert "warning: checkpoint 320 is damaged" in printed
    assert "continuing from 304" in printed
    assert_same_run(tiny_config, finished, copied)


def meta_of(config, **changes):
    """What a checkpoint after 16 of 40 pairs says, in the fade to 8x8."""
    stages = [dataclasses.asdict(s) for s in make_schedule(config).stages()[:2]]
    meta = {"nimg": 128, "resolution": 8, "stages": stages, "total_sec": 1.5}
    return meta | changes


def arrays_of(seed):
    """What a checkpoint after 16 pairs holds, as far as it is compared."""
    _, key = jax.random.split(jax.random.key(seed))
    return {"pairs": np.int32(16), "key": np.asarray(jax.random.key_data(key))}


def test_meta_data_fit_their_state(tiny_config):
    arrays = arrays_of(tiny_config.seed)
    check_restored(tiny_config, meta_of(tiny_config), arrays)
    # Whatever the length of the run is now.
    tiny_config.schedule.total_kimg = 0.08
    check_restored(tiny_config, meta_of(tiny_config), arrays)


@pytest.mark.parametrize(
    "changes",
    [
        {"nimg": 120},
        {"nimg": 136},
        {"nimg": "128"},
        {"resolution": 4},
        {"stages": [[8, 0, 0]]},
        {"stages": [{"resolution": 8}]},
        {"total_sec": None},
        {"origin": 5},
    ],
    ids=str,
)
def test_meta_data_that_contradict_their_state_are_an_error(tiny_config, changes):
    meta = meta_of(tiny_config, **changes)
    with pytest.raises((ValueError, LookupError, TypeError, AttributeError)):
        check_restored(tiny_config, meta, arrays_of(tiny_config.seed))


def test_a_checkpoint_of_another_seed_is_refused_and_not_trained_on(
    copied, tiny_config
):
    # The folder is now of a run of seed 7, whose checkpoints are of another one.
    record = json.loads((copied / "config.json").read_text())
    record["config"]["seed"] = tiny_config.seed = 7
    (copied / "config.json").write_text(json.dumps(seal(record)))
    before = contents(copied / "checkpoints")
    with pytest.raises(UserError) as error:
        train(tiny_config, copied)
    assert str(error.value) == (
        "--workdir: checkpoint 320 has the random key of another run, whose seed was "
        "not config.seed = 7; remove it, or restore the run's own checkpoint"
    )
    assert contents(copied / "checkpoints") == before


def test_a_damaged_row_is_counted_and_kept_beside(
    finished, copied, tiny_config, capsys
):
    log = copied / "stats.jsonl"
    damaged = log.read_bytes().replace(b'"Progress/nimg": 64', b'"Progress/nimg": 65')
    log.write_bytes(damaged)
    train(tiny_config, copied)
    kept = copied / "stats.jsonl.damaged"
    assert (
        f"warning: {log}: 1 of 11 earlier rows are lost and 1 line(s) are damaged; the "
        f"file is kept as {kept}; the run continues without them\n"
    ) in capsys.readouterr().err
    assert kept.read_bytes() == damaged
    there = [row["Progress/nimg"] for row in rows(finished)]
    there.remove(64)
    assert [row["Progress/nimg"] for row in rows(copied)] == there


def test_a_run_that_is_asked_to_be_shorter_than_it_is_changes_nothing(
    copied, tiny_config
):
    before = contents(copied)
    tiny_config.schedule.total_kimg = 0.26
    with pytest.raises(UserError, match=r"total_kimg = 0\.26, .* reached 0\.32 kimg"):
        train(tiny_config, copied)
    assert contents(copied) == before


def test_a_run_without_its_checkpoints_is_refused_and_changes_nothing(
    copied, tiny_config
):
    shutil.rmtree(copied / "checkpoints")
    before = contents(copied)
    with pytest.raises(
        UserError, match=r"holds stats\.jsonl, snapshots, grids of a ru"
    ):
        train(tiny_config, copied)
    assert contents(copied) == before


def test_a_finished_run_without_its_checkpoints_is_not_begun_again(copied, tiny_config):
    for path in (copied / "checkpoints").iterdir():
        shutil.rmtree(path)
    (copied / "checkpoints.json").unlink()
    before = contents(copied)
    with pytest.raises(UserError, match=r"a run that has reached 0\.32 kimg, and no"):
        train(tiny_config, copied)
    assert contents(copied) == before


def test_rows_after_the_newest_checkpoint_are_counted(copied, tiny_config, capsys):
    newest = sorted((copied / "checkpoints").iterdir(), key=lambda p: int(p.name))
    shutil.rmtree(newest[-1])
    (copied / "checkpoints.json").unlink()
    train(tiny_config, copied)
    printed = capsys.readouterr()
    # One tick, as a kill between its row and its checkpoint leaves it; without the
    # note nothing distinguishes it from a checkpoint that was deleted.
    assert "the checkpoint of 0.32 kimg is not in" in printed.err
    assert (
        "1 row(s) up to 0.32 kimg are of ticks after the newest checkpoint, at "
        f"{int(newest[-2].name) / 1000:g} kimg: these ticks are trained again\n"
    ) in printed.out


def test_a_run_that_begins_again_counts_what_is_trained_again(
    tiny_config, tmp_path, monkeypatch, capsys
):
    tiny_config.train.checkpoint_ticks = 100
    with monkeypatch.context() as patch:
        interrupt(patch, 3, crash)
        with pytest.raises(Crash):
            train(tiny_config, tmp_path / "run")
    assert len(rows(tmp_path / "run")) == 2
    capsys.readouterr()
    with monkeypatch.context() as patch:
        interrupt(patch, 1, crash)
        with pytest.raises(Crash):
            train(tiny_config, tmp_path / "run")
    assert (
        "2 row(s) up to 0.064 kimg are of ticks after the start, as there is no "
        "checkpoint: these ticks are trained again\n"
    ) in capsys.readouterr().out


def test_a_row_is_written_when_the_checkpoint_before_it_is_on_the_disk(
    tiny_config, tmp_path, monkeypatch
):
    def check_and_write(log, row):
        if row["Progress/tick"] > 1:
            newest.append(read_newest(tmp_path / "run" / "checkpoints"))
        write(log, row)

    newest, write = [], RunLog.write
    monkeypatch.setattr(RunLog, "write", check_and_write)
    train(tiny_config, tmp_path / "run")
    assert newest == [row["Progress/nimg"] for row in rows(tmp_path / "run")[:-1]]


def test_a_log_that_is_deleted_while_the_run_trains_is_one_warning(
    tiny_config, tmp_path, monkeypatch, capsys
):
    workdir = tmp_path / "run"

    def delete():
        shutil.rmtree(workdir / "snapshots")
        (workdir / "stats.jsonl").unlink()

    interrupt(monkeypatch, 4, delete)
    train(tiny_config, workdir)
    assert capsys.readouterr().err == (
        f"warning: {workdir / 'stats.jsonl'} was deleted, replaced or cut while the "
        "run trained: earlier rows may be lost, and new ones are written; restore the "
        "earlier ones when the run has ended\n"
    )
    assert rows(workdir)[-1]["Progress/nimg"] == 320


def test_a_run_whose_folder_is_deleted_ends_in_a_line_and_makes_no_other(
    tiny_config, tmp_path, monkeypatch
):
    workdir = tmp_path / "run"
    tiny_config.train.checkpoint_ticks = 100  # None is being written then.
    interrupt(monkeypatch, 2, lambda: shutil.rmtree(workdir))
    with pytest.raises(UserError, match="was deleted, moved or unmounted") as error:
        train(tiny_config, workdir)
    assert "\n" not in str(error.value)
    assert not workdir.exists()


@pytest.mark.parametrize(
    "moment", ["tick", "draw_fakes", "write_snapshot", "measure_swd"]
)
def test_a_run_that_is_moved_at_the_end_of_a_tick_leaves_nothing_where_it_was(
    tiny_config, tmp_path, monkeypatch, moment
):
    def move_after(record, *arguments):
        result = act(record, *arguments)
        # Not at the grid of the beginning.
        if not moved.exists() and (workdir / "stats.jsonl").stat().st_size:
            workdir.rename(moved)
        return result

    workdir, moved = tmp_path / "run", tmp_path / "moved"
    tiny_config.train.checkpoint_ticks = 100  # None is being written then.
    tiny_config.eval.stage_swd_images = 8 if moment == "measure_swd" else 0
    act = getattr(Record, moment)
    monkeypatch.setattr(Record, moment, move_after)
    with pytest.raises(UserError, match="was deleted, moved or unmounted"):
        train(tiny_config, workdir)
    assert moved.exists()
    assert not workdir.exists()


def test_a_report_makes_no_folder_for_a_run_that_is_moved(
    tiny_config, tmp_path, monkeypatch
):
    def move_and_read(*arguments):
        if not moved.exists():
            workdir.rename(moved)
        return read(*arguments)

    workdir, moved = tmp_path / "run", tmp_path / "moved"
    tiny_config.train.checkpoint_ticks = 100
    read = page.read_pictures
    monkeypatch.setattr(page, "read_pictures", move_and_read)
    with pytest.raises(UserError, match="was deleted, moved or unmounted"):
        train(tiny_config, workdir)
    assert moved.exists()
    assert not workdir.exists()


def test_a_save_that_fails_as_the_folder_is_gone_gives_that_reason(
    tiny_config, tmp_path, monkeypatch
):
    def delete_and_fail(checkpoints):
        shutil.rmtree(tmp_path / "run")
        raise UserError("checkpoint 32 cannot be written")

    monkeypatch.setattr(Checkpoints, "wait", delete_and_fail)
    with pytest.raises(UserError, match="was deleted, moved or unmounted"):
        train(tiny_config, tmp_path / "run")


def test_folders_in_a_run_that_are_deleted_while_it_trains_are_made_again(
    finished, tiny_config, tmp_path, monkeypatch
):
    workdir = tmp_path / "run"
    tiny_config.train.checkpoint_ticks = 100  # None is being written then.

    def delete():
        for name in ("grids", "snapshots", "checkpoints"):
            shutil.rmtree(workdir / name)

    interrupt(monkeypatch, 5, delete)
    train(tiny_config, workdir)
    assert without_timing(workdir) == without_timing(finished)
    for name in ("grids", "snapshots", "checkpoints"):
        assert any((workdir / name).iterdir())
    assert final_state(tiny_config, workdir)[1]["nimg"] == 320


@pytest.mark.parametrize("name", ["stats.jsonl", "checkpoints"])
def test_what_the_system_refuses_is_one_line(tiny_config, tmp_path, name):
    workdir = tmp_path / "run"
    workdir.mkdir()
    with exclusive(workdir):
        open_workdir(tiny_config, workdir, load_digits(16).fingerprint, 1)
    if name == "stats.jsonl":
        (workdir / name).mkdir()
    else:
        (workdir / name).write_text("no folder")
    with pytest.raises(UserError, match=name):
        train(tiny_config, workdir)


def test_a_stop_before_training_saves_and_ends(
    tiny_config, tmp_path, monkeypatch, capsys
):
    def load_and_stop(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return load(*arguments)

    load = sources.load
    monkeypatch.setattr(sources, "load", load_and_stop)
    train(tiny_config, tmp_path / "run")
    assert "SIGTERM at 0 kimg: state saved" in capsys.readouterr().out


def test_time_that_is_up_before_the_first_tick_leaves_a_snapshot_and_no_report(
    tiny_config, tmp_path, monkeypatch, capsys
):
    tiny_config.train.tick_kimg = "0.064"
    up = property(lambda stop: passed)
    passed = False

    def pass_time():
        nonlocal passed
        passed = True

    monkeypatch.setattr(StopRequest, "time_is_up", up)
    interrupt(monkeypatch, 1, pass_time)
    run = tmp_path / "run"
    train(tiny_config, run)
    out, err = capsys.readouterr()
    assert "time is up at 0.032 kimg: state saved" in out
    assert not rows(run) and list((run / "snapshots").iterdir())
    assert not (run / "report.html").exists() and "report" not in err


@pytest.mark.parametrize(("seconds", "reports"), [(1e9, 2), (-1.0, 11)])
def test_reports_are_written_at_snapshots_no_sooner_than_allowed_and_at_the_end(
    tiny_config, tmp_path, monkeypatch, seconds, reports
):
    written = []
    monkeypatch.setattr("progan_jax.record._REPORT_SEC", seconds)
    monkeypatch.setattr("progan_jax.record.try_to_write_report", written.append)
    train(tiny_config, tmp_path / "run")
    assert len(list((tmp_path / "run" / "snapshots").iterdir())) == 11
    assert len(written) == reports


def test_updates_that_stay_infinite_stop_the_run_with_its_state_saved(
    tiny_config, tmp_path
):
    tiny_config.schedule.d_learning_rate = "1e9"
    tiny_config.train.max_skipped = 3
    workdir = tmp_path / "run"
    with pytest.raises(DivergedError, match="3 updates in a row") as error:
        train(tiny_config, workdir)
    assert "\n" not in str(error.value)
    assert "stats.jsonl" in str(error.value)
    assert any((workdir / "checkpoints").iterdir())


def test_a_run_that_does_not_grow_starts_at_its_resolution(tiny_config, tmp_path):
    tiny_config.schedule.start_resolution = 16
    tiny_config.schedule.total_kimg = 0.064
    train(tiny_config, tmp_path / "run")
    assert {row["Progress/resolution"] for row in rows(tmp_path / "run")} == {16}
    assert {row["Progress/alpha"] for row in rows(tmp_path / "run")} == {1.0}


def test_a_prepared_set_trains_as_the_set_in_memory(finished, tiny_config, tmp_path):
    reader = DigitsReader(16)
    settings = Settings(16, channels=1)
    folder = tmp_path / "sets" / "digits"
    shards = write_pyramid(reader, folder, settings, {}, 1, lambda shard: None)
    finish(folder, reader, settings, {}, shards)
    tiny_config.data.data_dir = str(tmp_path / "sets")
    train(tiny_config, tmp_path / "run")
    assert grids(tmp_path / "run") == grids(finished)
    assert without_timing(tmp_path / "run") == without_timing(finished)


@pytest.mark.slow
def test_a_conditional_run_with_every_switch_turned_on_eight_devices(
    tiny_config, tmp_path
):
    tiny_config.model.num_classes = 4
    tiny_config.model.mbstd_group_size = 1
    tiny_config.model.pixel_norm = tiny_config.model.equalized = False
    tiny_config.model.activation = "relu"
    tiny_config.data.truncate_labels = tiny_config.data.dequantise = True
    tiny_config.optim.d_repeats = 2
    tiny_config.optim.reset_at_fades = False
    tiny_config.optim.ema_decay = 0.0
    tiny_config.schedule.quantum_pairs = 1
    tiny_config.schedule.start_resolution = 8
    tiny_config.schedule.total_kimg = 0.16
    tiny_config.schedule.batch_size = "8"
    tiny_config.train.grid_by_class = True
    tiny_config.runtime.num_devices = 8
    tiny_config.eval.stage_swd_images = 64
    train(tiny_config, tmp_path / "run")
    row = rows(tmp_path / "run")[-1]
    assert row["Loss/label_penalty_fakes"] > 0
    assert row["Metrics/stage_swd_16"] > 0
    assert row["Health/skipped"] == 0
    state, _ = final_state(tiny_config, tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, state.g_ema, state.g_params)
    # All of the 10 pairs, since nothing was reset at the fade.
    assert (state.g_opt.count, state.d_opt.count) == (10, 20)
    # The grid has two rows of four: zeros, then ones.
    images = load_digits(16)
    with Image.open(tmp_path / "run" / "grids" / "reals.png") as picture:
        shown = np.asarray(picture).reshape(2, 16, 4, 16).transpose(0, 2, 1, 3)
    for label, row_of_grid in enumerate(shown):
        of_class = images.levels[16][:][images.labels == label, :, :, 0].tolist()
        assert all(image.tolist() in of_class for image in row_of_grid)
