"""Random damage to the files of a run: never silent, never a traceback."""

import random
import shutil
from collections import Counter
from functools import partial

import jax
import numpy as np
import pytest

from progan_jax.config import make_schedule
from progan_jax.errors import UserError
from progan_jax.runtime.checkpoint import Checkpoints
from progan_jax.runtime.logging import RunLog, read_rows
from progan_jax.runtime.mesh import make_mesh
from progan_jax.runtime.snapshot import list_snapshots, read_snapshot
from progan_jax.stage import StageProgram
from progan_jax.train import check_restored, train
from progan_jax.workdir import check_begun, read_config

PARTS = ("checkpoints", "checkpoints.json", "config.json", "snapshots", "stats.jsonl")


def go_on(config, folder):
    """Reads a run as the same command does; returns what it would go on from."""
    check_begun(config, folder)
    schedule = make_schedule(config)
    mesh = make_mesh(jax.devices()[:1])

    def abstract(meta):
        program = StageProgram(config, schedule, meta["resolution"], mesh)
        return program.abstract_state()

    with Checkpoints(folder / "checkpoints", keep=3) as checkpoints:
        state, meta = checkpoints.restore_newest(
            abstract, partial(check_restored, config)
        )
    state = state.replace(key=jax.random.key_data(state.key))
    nimg, log = meta["nimg"], folder / "stats.jsonl"
    RunLog(
        folder,
        lambda n: n <= nimg and schedule.is_tick_end(n),
        schedule.ticks_until(nimg),
    ).close()
    arrays = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]
    return {"state": arrays, "meta": meta, "rows": read_rows(log)}


def read(config, folder):
    """Returns all that the readers of a run's folder tell of it."""
    params, info = read_snapshot(list_snapshots(folder)[-1])
    weights = [array.tobytes() for array in jax.tree.leaves(params)]
    begun = read_config(folder, "RUN").to_dict()
    shown = {"weights": weights, "info": info, "config": begun}
    return shown | go_on(config, folder)


def damage(path, rng):
    """Flips, cuts, deletes, zeroes or inserts; returns which."""
    data = bytearray(path.read_bytes())
    kind = rng.choice(["flip", "flips", "cut", "delete", "zero", "insert"])
    if kind == "delete":
        path.unlink()
        return kind
    if kind in ("flip", "flips") and data:
        for _ in range(1 if kind == "flip" else 8):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del data[rng.randrange(len(data) + 1) :]
    elif kind == "zero":
        data = bytearray(len(data))
    elif kind == "insert":
        place = rng.randrange(len(data) + 1)
        data[place:place] = rng.randbytes(3)
    path.write_bytes(data)
    return kind


def choose(folder, rng):
    """Returns a file of one of the parts, mostly of the newest checkpoint's."""
    part = folder / rng.choice(PARTS)
    if part.is_file():
        return part
    if part.name == "checkpoints" and rng.random() < 0.7:
        part /= "320"
    return rng.choice(sorted(p for p in part.rglob("*") if p.is_file()))


@pytest.mark.slow
def test_no_damage_is_silent_and_none_is_a_traceback(tiny_config, tmp_path, capfd):
    whole, work = tmp_path / "whole", tmp_path / "work"
    train(tiny_config, whole)
    shutil.copytree(whole, work)
    expected = read(tiny_config, work)
    # What a run goes on from where it falls back to the checkpoint before.
    shutil.rmtree(work / "checkpoints" / "320")
    before = read(tiny_config, work)
    assert before["meta"]["nimg"] == 304
    rng, outcomes = random.Random(0), Counter()
    for _ in range(300):
        shutil.rmtree(work)
        shutil.copytree(whole, work)
        path = choose(work, rng)
        what = f"{damage(path, rng)} {path.relative_to(work)}"
        capfd.readouterr()
        try:
            found = read(tiny_config, work)
        except UserError as error:
            assert "\n" not in str(error), what
            outcomes["one line"] += 1
            continue
        told = capfd.readouterr().err
        assert "Traceback" not in told, what
        if found == expected:
            outcomes["the same"] += 1
            continue
        assert "warning: " in told, what
        outcomes["a warning"] += 1
        source = expected if found["meta"] == expected["meta"] else before
        rows = found.pop("rows")
        assert found == {k: v for k, v in source.items() if k != "rows"}, what
        assert [row for row in source["rows"] if row in rows] == rows, what
    print(outcomes)
    assert min(outcomes[kind] for kind in ("one line", "the same", "a warning")) > 20
