"""Random damage to the files of a run: never silent, never a traceback.

Each damage hits one file of a copy of the folder. What reads and restores it then gives
what it gives undamaged, or prints a warning, or ends with a UserError.
"""

import contextlib
import io
import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest

import progan_jax
from progan_jax.display.frames import timelapse_frames
from progan_jax.display.page import write_report
from progan_jax.display.pictures import list_grids
from progan_jax.errors import UserError
from progan_jax.metrics import scoreboard
from progan_jax.metrics.scoreboard import Scoreboard
from progan_jax.runtime import logging
from progan_jax.runtime.command_line import load_config
from progan_jax.train import _Run, train

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
OVERRIDES = [
    "--config.model.resolution=16",
    "--config.model.fmap_base=32",
    "--config.model.fmap_max=8",
    "--config.model.latent_size=8",
    "--config.schedule.batch_size=8",
    "--config.schedule.stabilise_kimg=0.064",
    "--config.schedule.fade_kimg=0.064",
    "--config.train.tick_kimg=0.032",
    "--config.train.grid=4x2",
    "--config.train.grid_ticks=1",
    "--config.train.snapshot_ticks=2",
    "--config.train.checkpoint_ticks=1",
    "--config.eval.stage_swd_images=0",
    "--config.eval.metrics=swd",
    "--config.eval.num_images=64",
    "--config.eval.every_kimg=0.128",
    "--config.eval.best=swd_average",
    "--config.runtime.num_devices=1",
]
BEGUN = "--config.schedule.total_kimg=0.256"
LONGER = "--config.schedule.total_kimg=0.32"

# A file is of the first kind that fits. Each kind is damaged as often as the others,
# though most files are Orbax's.
KINDS = {
    "newest checkpoint": r"checkpoints/256/.*",
    "meta": r"checkpoints/.*(meta/.*|_CHECKPOINT_METADATA)",
    "arrays": r"checkpoints/.*",
    "note": r"checkpoints\.json",
    "weights": r"snapshots/.*\.safetensors",
    "best": r"snapshots/best",
    "snapshot": r"snapshots/.*",
    "config": r"config\.json",
    "rows": r"stats\.jsonl",
    "measured": r"metrics\.jsonl",
    "table": r"metrics\.csv",
    "grids": r"grids/.*",
}


@pytest.fixture
def run(tmp_path):
    """A run that can be made longer, with all that a run's folder may hold."""
    folder = tmp_path / "run"
    with contextlib.redirect_stdout(io.StringIO()):
        train(load_config("digits", [*OVERRIDES, BEGUN]), folder)
    return folder


def files_by_kind(run):
    names = [p.relative_to(run) for p in sorted(run.rglob("*")) if p.is_file()]
    by_kind = {kind: [] for kind in KINDS}
    for name in names:
        kinds = [k for k, form in KINDS.items() if re.fullmatch(form, str(name))]
        if kinds and (run / name).stat().st_size:
            by_kind[kinds[0]].append(name)
    assert all(by_kind.values())
    return by_kind


def flip(rng, data):
    changed = bytearray(data)
    changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(rng, data):
    return data[: rng.randrange(len(data))]


def zero(rng, data):
    start = rng.randrange(len(data))
    length = min(rng.choice([1, 16, 4096]), len(data) - start)
    return data[:start] + bytes(length) + data[start + length :]


def insert(rng, data):
    place = rng.randrange(len(data) + 1)
    return data[:place] + rng.randbytes(3) + data[place:]


def delete(rng, data):
    return None


def damage(rng, run, by_kind):
    """Damages a file; returns how, and which."""
    how = rng.choice([flip, flip, flip, cut, zero, insert, delete])
    path = rng.choice(by_kind[rng.choice(list(KINDS))])
    changed = how(rng, (run / path).read_bytes())
    if changed is None:
        (run / path).unlink()
    else:
        (run / path).write_bytes(changed)
    return how.__name__, path


class Opened(Exception):
    """Ends a training that has just been opened."""


def go_on(run, monkeypatch):
    """Returns what a run continues from: images, resolution, state and origin."""
    found = []

    def stop(self):
        state = self.state.replace(key=jax.random.key_data(self.state.key))
        leaves = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]
        stages = self.schedule.stages()
        found.append((self.nimg, self.program.resolution, leaves, self.origin, stages))
        self.record.close()
        raise Opened

    with monkeypatch.context() as patch, contextlib.suppress(Opened):
        patch.setattr(_Run, "run", stop)
        train(load_config("digits", [*OVERRIDES, LONGER]), run)
    return found[0], logging.read_rows(run / "stats.jsonl")


def sample(run, _):
    return [
        progan_jax.load(folder).sample(2, seed=1).tobytes()
        for folder in (run, *sorted(run.glob("snapshots/*_r*")))
    ]


def report(run, _):
    page = run.with_name("report.html")
    page.unlink(missing_ok=True)
    pictures = write_report(run, page)
    for name in pictures.unreadable:
        logging.warn(f"{name} is left out")  # As the command does.
    text = without_times(page)
    if re.search(r"\d more are lost", text):
        logging.warn("the page counts ticks without rows")
    return text


def without_times(page):
    """The text of a report, in which pictures have the times of their files."""
    return re.sub(r'data-grid="[^"]*"', "", page.read_text())


def film(run, _):
    frames = timelapse_frames(list_grids(run / "grids"), 1)
    return [np.asarray(frame).tobytes() for frame in frames]


def measured(run, _):
    return Scoreboard(run).records()


def best(run, _):
    return progan_jax.load(run, "best").name


def table(run, _):
    """Returns the table of values after --mode=eval that measures nothing new."""
    Scoreboard(run).write_csv()
    return (run / "metrics.csv").read_text()


# The last two write.
READERS = (report, film, measured, sample, best, table, go_on)


def outcome(reader, run, monkeypatch):
    """Returns what was read, what was printed as a warning, and the line at the end."""
    logging._warn_once.cache_clear()
    scoreboard._warn_of_damage.cache_clear()
    errors, line, found = io.StringIO(), "", None
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        try:
            found = reader(run, monkeypatch)
        except UserError as error:
            line = str(error)
    assert "Traceback" not in errors.getvalue()
    return found, errors.getvalue().count("warning: "), line


@pytest.mark.parametrize("seed", range(6))
def test_no_damage_is_silent_and_none_is_a_traceback(run, tmp_path, monkeypatch, seed):
    rng, work = random.Random(seed), tmp_path / "copy" / "run"
    shutil.copytree(run, work)
    expected = {reader: outcome(reader, work, monkeypatch) for reader in READERS}
    assert not any(line for _, _, line in expected.values())
    # What a run continues from where it falls back to the checkpoint before.
    shutil.rmtree(work / "checkpoints" / "256")
    before, warnings, _ = outcome(go_on, work, monkeypatch)
    assert before[0][0] == 224 and warnings
    ends, faults, by_kind = Counter(), [], files_by_kind(run)
    for _ in range(50):
        shutil.rmtree(work)
        shutil.copytree(run, work)
        how, path = damage(rng, work, by_kind)
        seen = {"same result"}
        for reader in READERS:
            try:
                found, warnings, line = outcome(reader, work, monkeypatch)
            except Exception as error:
                found, warnings, line = error, 0, ""
            if "\n" in line or len(line) > 600:
                faults.append(f"{how} {path}: {line}")
            elif line:
                seen.add("one line")
            elif warnings > expected[reader][1]:
                seen.add("warning")
                known = expected[go_on][0][0], before[0]
                if reader is go_on and found[0] not in known:
                    faults.append(f"{how} {path}: continues from {found[0][:2]}")
            elif found != expected[reader][0] and not is_missed(reader, how, path):
                faults.append(f"{how} {path}: {reader.__name__} is {found!s:.200}")
        ends[max(seen - {"same result"}, default="same result")] += 1
    print(dict(ends))
    assert not faults, "\n".join(faults)
    assert len(ends) == 3


def is_missed(reader, how, path):
    """Returns whether a file is one that a user may delete: a grid."""
    return how == "delete" and path.parts[0] == "grids" and reader in (report, film)


COMMANDS = {
    "train": ["-m", "progan_jax.main", "--config=digits", *OVERRIDES, LONGER],
    "eval": ["-m", "progan_jax.main", "--mode=eval"],
    "report": ["-m", "progan_jax.tools.report"],
    "sample": ["-m", "progan_jax.tools.sample"],
}


def command(name, run):
    """Runs a command on a run; returns its exit code, output and errors."""
    place = f"--workdir={run}" if name in ("train", "eval") else str(run)
    rest = ["--num=2", f"--out={run.parent / 'samples'}"] if name == "sample" else []
    ended = subprocess.run(
        [sys.executable, *COMMANDS[name], place, *rest],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        timeout=600,
    )
    return ended.returncode, ended.stdout, ended.stderr


def result(name, run):
    """What a command leaves that does not depend on time."""
    if name == "sample":
        return {p.name: p.read_bytes() for p in (run.parent / "samples").glob("*.png")}
    if name == "report":
        return without_times(run / "report.html")
    if name == "eval":
        return (run / "metrics.csv").read_text()
    return (run / "snapshots/000000.320_r016/generator.safetensors").read_bytes()


def test_damage_shows_at_the_command_line(run, tmp_path):
    work, expected = tmp_path / "copy" / "run", {}
    for name in COMMANDS:
        shutil.rmtree(work.parent, ignore_errors=True)
        shutil.copytree(run, work)
        code, _, errors = command(name, work)
        assert (code, "warning: " in errors) == (0, False), errors
        expected[name] = result(name, work)
    rng, by_kind, ends = random.Random(0), files_by_kind(run), Counter()
    for number in range(20):
        shutil.rmtree(work.parent)
        shutil.copytree(run, work)
        how, path = damage(rng, work, by_kind)
        name = list(COMMANDS)[number % len(COMMANDS)]
        code, _, errors = command(name, work)
        what = f"{how} {path}, {name}: {code}\n{errors}"
        assert "Traceback" not in errors, what
        if code:
            lines = [line for line in errors.splitlines() if "warning: " not in line]
            assert (code, len(lines)) == (2, 1), what
            ends["one line"] += 1
        elif "warning: " in errors:
            ends["warning"] += 1
        elif not (name == "report" and is_missed(report, how, path)):
            assert result(name, work) == expected[name], what
            ends["same result"] += 1
    print(dict(ends))
