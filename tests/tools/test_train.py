"""Training on a folder of images for a time."""

import io
import json
import os
import queue
import shlex
import signal
import subprocess
import sys
import time
from pkgutil import resolve_name

import numpy as np
import pytest
from PIL import Image

from progan_jax.data.prepared import is_pyramid, read_description
from progan_jax.errors import UserError
from progan_jax.files import seal, write_json
from progan_jax.inference.load import load
from progan_jax.prepare.processes import KilledError
from progan_jax.runtime.command_line import load_config, run_with_overrides
from progan_jax.runtime.logging import read_rows
from progan_jax.runtime.newest import note_newest
from progan_jax.training.workdir import read_config
from tests.hub_server import no_token
from tests.in_process import run_tool, tool
from tests.wandb_runs import settings

__all__ = ["no_token", "settings"]

TINY = [
    "--config.model.fmap_max=4",
    "--config.model.latent_size=8",
    "--config.train.grid=2x2",
]


# Each is valid, and both together are not: found once the images are prepared.
LATE = ["--config.optim.simultaneous=true", "--config.optim.d_repeats=2"]


def write_photos(folder, number=60, size=(24, 20)):
    """Writes photographs of noise."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in range(number):
        pixels = rng.integers(0, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def train(monkeypatch, tmp_path, shared_programs):
    """Trains tiny networks at 8x8 in tmp_path, as if few seconds were left."""
    monkeypatch.chdir(tmp_path)

    def call(photos, left_sec, *overrides, lefts=(0.0,)):
        with tool("progan_jax.tools.train", resolution=8) as names:
            session, left = names["_Session"], iter(lefts)
            tell = session._tell
            monkeypatch.setattr(
                session, "_tell", lambda *a: call.told.append(a[1]) or tell(*a)
            )
            for name in ("_LEAST", "_MOST_MEASURED"):
                monkeypatch.setitem(names["main"].__globals__, name, 0.0)
            monkeypatch.setattr(session, "_training_seconds", lambda self: left_sec)
            monkeypatch.setattr(session, "_left", lambda self: next(left))
            given = [*TINY, *overrides]
            one = session(str(photos), given, True, 3600, time.monotonic())
            one.train(one.configure())

    call.told = []
    return call


@pytest.mark.usefixtures("dropped_programs")
def test_a_folder_becomes_a_trained_generator_and_the_same_command_goes_on(
    tmp_path, train, capsys
):
    photos, run = write_photos(tmp_path / "photos"), tmp_path / "runs" / "photos"
    train(photos, 1.0)
    first = read_rows(run / "stats.jsonl")[-1]
    assert load(run).sample(1, seed=0).shape == (1, 8, 8, 3)
    assert (run / "report.html").is_file()
    assert (run / "videos" / "timelapse.webp").is_file()
    assert list(dict.fromkeys(train.told)) == [
        *("preparing 60 images at 8x8", "compiling 8x8", "measuring 8x8"),
        *("opening the images", "drawing 8x8", "training 8x8"),
        *("drawing and saving 8x8", "drawing the film"),
    ]
    out = capsys.readouterr().out
    assert "preparing 60 images at 8x8" in out
    assert out.endswith("draw more by: progan_jax sample runs/photos --num=64 --grid\n")
    config = load_config(str(run.with_suffix(".py")))
    assert config.to_dict() == read_config(run, "--workdir").to_dict()
    assert config.model.fmap_max == 4
    train(photos, 0.5)
    again = read_rows(run / "stats.jsonl")[-1]
    assert again["Progress/nimg"] > first["Progress/nimg"]
    assert "preparing" not in capsys.readouterr().out
    with pytest.raises(UserError, match=r"config.optim.beta2 = 0.9, but the run in"):
        train(photos, 0.5, "--config.optim.beta2=0.9")
    kimg = again["Progress/kimg"]
    train(photos, 0.5, f"--config.schedule.total_kimg={kimg}", lefts=(3600.0,))
    assert read_rows(run / "stats.jsonl")[-1]["Progress/kimg"] == kimg


@pytest.mark.slow
@pytest.mark.usefixtures("dropped_programs")
def test_a_run_that_ends_long_before_its_time_is_made_longer(tmp_path, train, capsys):
    photos = write_photos(tmp_path / "photos")
    train(photos, 0.5, lefts=(3600.0, 3600.0, 0.0))
    out = capsys.readouterr().out
    assert out.count("continues from") == 2
    assert out.count("film: ") == 1


def begin(run, *overrides):
    """Writes what a run of the digits at 32x32 has when it begins."""
    run.mkdir(parents=True)
    config = load_config("digits", overrides).to_dict()
    write_json(run / "config.json", seal({"config": config}))


def interrupting(monkeypatch, name):
    """Makes a function send Ctrl-C when it is called, and does what it did."""
    module, _, attribute = name.rpartition(".")
    action = resolve_name(name)

    def interrupted(*arguments, **named):
        os.kill(os.getpid(), signal.SIGINT)
        return action(*arguments, **named)

    monkeypatch.setattr(resolve_name(module), attribute, interrupted)


@pytest.mark.usefixtures("dropped_programs")
def test_ctrl_c_after_the_last_tick_ends_with_a_line_and_code_0(
    tmp_path, train, capsys, monkeypatch
):
    photos, long = write_photos(tmp_path / "photos"), (3600.0, 3600.0)
    for name, lefts in (
        ("progan_jax.training.fitting.lengthen", long),
        ("progan_jax.record.Record.print_end", long),  # It is not made longer.
        ("progan_jax.display.film.write_film", (0.0,)),
    ):
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as end:
            interrupting(patch, name)
            train(photos, 0.5, lefts=lefts)
        out, err = capsys.readouterr()
        assert end.value.code == 0
        assert err == "stopped by SIGINT; all is saved; the same command continues\n"
        assert out.count("done: ") == 1
        assert "film: " not in out


def test_a_run_that_was_stopped_while_it_grew_gets_the_whole_time(
    tmp_path, monkeypatch
):
    photos, run = write_photos(tmp_path / "photos"), tmp_path / "run"
    begin(run, "--config.train.tick_kimg=8,8:4,16:2,32:1")
    tick = {"Progress/nimg": 2000, "Progress/resolution": 4}
    row = seal(tick | {"Timing/sec_per_kimg": 1.0})
    (run / "stats.jsonl").write_text(json.dumps(row) + "\n")
    with tool("progan_jax.tools.train", workdir=str(run)) as names:
        one = names["_Session"](str(photos), [], True, 3600, time.monotonic())
        monkeypatch.setattr(one, "_training_seconds", lambda: 1000.0)
        total = one._continue().schedule.total_kimg
    # 2 kimg are left at 4x4, and 8x8 and 16x16 have 14 and 12; each tick takes 8 s.
    last = (1000 - 2 * 1 - 14 * 2 - 12 * 4) / 8
    # The last tick, of 1 kimg, is complete.
    assert -0.5 < 4 + 14 + 12 + last - total < 1


@pytest.mark.parametrize(
    ("saved", "code", "expected"),
    [
        (None, 1, "nothing is trained yet; all that was saved is kept; run the"),
        (0, 1, "nothing is trained yet; all that was saved is kept; run the"),
        (2048, 0, "all that was saved is kept; run the"),
    ],
)
def test_what_outlasts_the_time_is_given_up_with_its_name(
    photos, saved, code, expected, monkeypatch, capsys
):
    codes = queue.Queue()
    monkeypatch.setattr(os, "_exit", codes.put)
    run = photos.parent / "run"
    if saved is not None:
        run.mkdir()
        note_newest(run / "checkpoints", saved)
    with tool("progan_jax.tools.train", workdir=str(run), hours=0.1) as names:
        started = time.monotonic() - 1.07 * 360
        one = names["_Session"](str(photos), [], True, 360, started)
        one._tell("compiling 64x64")
        with one.ending_in_time():
            assert codes.get(timeout=60) == code
    line = f"time is up while compiling 64x64: {expected} same command with more --hour"
    assert capsys.readouterr().err == f"{line}s to continue\n"


@pytest.mark.slow
def test_two_minutes_are_no_longer_and_leave_a_generator(tmp_path):
    photos, started = write_photos(tmp_path / "photos"), time.monotonic()
    command = [sys.executable, "-m", "progan_jax.tools.train", photos, "--minutes=2"]
    command += ["--resolution=16", "--", *TINY]
    for _ in range(2):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert time.monotonic() - started < 132
        started = time.monotonic()
        assert load(tmp_path / "runs" / "photos").sample(1, seed=0).shape[1] == 16


def refusal(*arguments):
    """Returns the line of a refusal."""
    done = run_tool(
        "progan_jax.tools.train",
        *arguments,
        argument="PHOTOS",
        start=run_with_overrides,
    )
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 1, lines
    return lines[0].removeprefix("error: ")


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_photos(tmp_path / "photos")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--minutes=0"], "--minutes=0 must be from one minute to a year; change it"),
        (["--hours=0"], "--hours=0 must be from one minute to a year; change it"),
        (["--minutes=nan"], "--minutes=nan must be from one minute"),
        (["--minutes=5", "--hours=1"], "--minutes and --hours exclude each other"),
        (["--family=stylegan"], "has 60 images, and stylegan needs 200"),
        (["--family=stylegan_xl"], "or choose --family=progan"),
        (["--resolution=48"], "--resolution=48 must be a power of two from 8 to 1024"),
        (["--config.model.fmaps=1"], "--config has no field 'fmaps'"),
        (["--config.model.fmap_max=0"], "config.model.fmap_max = 0 must be at least 1"),
        (["--config.data.augment=some"], "config.data.augment = 'some'"),
        (["--config.eval.metrics=some"], "config.eval.metrics = 'some': there is no"),
        (["--config.init_from=none"], "config.init_from=none: there is no such file"),
        (["--config.family=stylegan"], "train chooses it; write --family=stylegan"),
        (["--config.model.resolution=128"], "chooses it; write --resolution=128"),
        (["--config.data.mirror"], "--config.data.mirror: fields are written --config"),
        (["--noconfig.data.mirror"], "such as --config.data.mirror=false"),
        (["--config.model.fmap_max", "4"], "are written --config.FIELD=VALUE, such"),
        (["--", "--config.model.fmaps=1"], "--config has no field 'fmaps'"),
        (["--workdir=photos/run"], "--workdir=photos/run lies in PHOTOS"),
        (["more"], "unexpected argument 'more': fields are written"),
        (["--workdir=gs://bucket/run"], "--workdir=gs://bucket/run: only mounted"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(photos, flags, expected):
    assert expected in refusal(photos, *flags)
    assert [path.name for path in photos.parent.iterdir()] == ["photos"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["writers=wandb"], "config.train.writers = 'wandb' cannot be used: it has no"),
        (["push_to_hub=me/net"], "config.train.push_to_hub=hf://me/net: there is no t"),
    ],
)
@pytest.mark.usefixtures("settings", "no_token")
def test_a_missing_key_or_token_is_a_line_before_images_are_prepared(
    photos, fields, expected
):
    before = {path.name for path in photos.parent.iterdir()}
    assert expected in refusal(photos, *(f"--config.train.{f}" for f in fields))
    assert {path.name for path in photos.parent.iterdir()} <= before | {"home"}


def test_a_missing_licence_is_a_line_before_images_are_prepared(photos, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_some")
    text = refusal(photos, "--config.train.push_to_hub=me/net")
    assert text.startswith("config.train.hub_licence is missing: give an identifier")
    assert [path.name for path in photos.parent.iterdir()] == ["photos"]


def test_a_missing_folder_is_named(tmp_path):
    nowhere = tmp_path / "nowhere"
    assert refusal(nowhere) == f"PHOTOS={nowhere}: there is no {nowhere}; name another"


def test_folders_that_are_in_use_or_hold_a_run_are_refused_before_any_work(photos):
    text = "it is in use and holds no config.json of a run; choose a new or an empty"
    assert text in refusal(photos, f"--workdir={photos}")
    (photos / "config.json").touch()
    assert "it is the folder of a run; name the images" in refusal(photos)
    assert [path.name for path in photos.parent.iterdir()] == ["photos"]


def test_no_photos_and_a_file_for_the_run_are_refused(photos):
    text = "PHOTOS is empty; name a folder or a zip file of images"
    assert refusal("") == text
    (photos.parent / "it").touch()
    assert refusal(photos, "--workdir=it") == "--workdir=it is a file; choose a folder"


def test_the_folder_above_a_prepared_set_is_refused_with_the_name_of_the_set(photos):
    refusal(photos, *LATE)
    above = photos.parent / "runs" / "photos_data"
    assert refusal(above).endswith(f"are not photographs; name {above / 'photos'}")


def test_three_images_are_too_few(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    few = write_photos(tmp_path / "few", 3)
    assert refusal(few) == (
        "PHOTOS has 3 images, and progan needs 50, as its discriminator memorises "
        "fewer; add images"
    )


def test_a_folder_without_readable_images_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_photos(tmp_path / "photos", 60)
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:20])
    assert "none of 60 images" in refusal(folder)


def test_images_of_one_colour_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "grey"
    folder.mkdir()
    for number in range(60):
        Image.new("RGB", (16, 16), (90, 90, 90)).save(folder / f"{number}.png")
    assert "its images show one colour and nothing else" in refusal(folder)


def test_a_folder_that_cannot_be_written_is_named(photos, tmp_path):
    (tmp_path / "file").touch()
    text = refusal(photos, f"--workdir={tmp_path / 'file' / 'run'}")
    assert text.startswith("--workdir: ")
    assert str(tmp_path / "file") in text
    assert "choose another folder" in text


@pytest.mark.parametrize("name", ["photos", "my photos.v2", "-2024"])
def test_a_killed_process_is_a_line_with_what_needs_less_memory(
    photos, name, monkeypatch
):
    photos = photos.rename(photos.with_name(name))

    def kill(*arguments):
        raise KilledError("--workers=2: the system killed a process; lower --workers")

    with monkeypatch.context() as patch:
        patch.setattr("progan_jax.prepare.writing.call_for_each", kill)
        text = refusal(photos, "--resolution=8")
    assert text.startswith(f"PHOTOS={photos}: the system killed a process that prepar")
    _, _, advice = text.partition(" by: progan_jax prepare_data ")
    command, _, name = advice.partition(", and train DIR/")
    arguments = shlex.split(command.replace("--out=DIR", "--out=runs"))
    done = run_tool("progan_jax.tools.prepare_data", *arguments)
    assert done.returncode == 0, done.stderr
    assert is_pyramid(photos.parent / "runs" / name)


def test_images_that_have_changed_since_are_refused(photos, tmp_path):
    refusal(photos, "--", *LATE)  # Prepares the set.
    buffer = io.BytesIO()
    Image.new("RGB", (30, 30)).save(buffer, "PNG")
    (photos / "another.png").write_bytes(buffer.getvalue())
    assert "its images are not those that" in refusal(photos)


def test_a_set_is_not_enlarged_and_a_run_keeps_its_images(photos, tmp_path, train):
    done = refusal(photos, "--resolution=8", *LATE)
    assert "config.optim.d_repeats" in done
    prepared = tmp_path / "runs" / "photos_data" / "photos"
    assert "was prepared at 8; lower it" in refusal(prepared, "--resolution=16")
    train(prepared, 0.5)
    assert (tmp_path / "runs" / "photos" / "config.json").exists()
    other = write_photos(tmp_path / "other", 61)
    text = refusal(other, f"--workdir={tmp_path / 'runs' / 'photos'}")
    assert "was begun with the images in" in text


@pytest.mark.parametrize(
    ("given", "begun"),
    [("--family=stylegan", "progan"), ("--resolution=16", 32), ("--resolution=64", 32)],
)
def test_a_begun_run_refuses_another_family_and_resolution_before_any_work(
    photos, given, begun
):
    run = photos.parent / "runs" / "photos"
    begin(run)
    text = refusal(photos, given)
    assert text == (
        f"{given}: the run in {run} was begun with {begun}; leave it out, or choose "
        "another --workdir"
    )
    assert [path.name for path in run.parent.iterdir()] == ["photos"]


def test_a_larger_set_replaces_a_smaller_one_only_before_a_run_is_begun(photos):
    refusal(photos, "--resolution=8", *LATE)  # Prepares the set.
    text = refusal(photos, "--resolution=32")
    assert text.endswith("lower it, or remove that folder to prepare the images again")
    begin(photos.parent / "runs" / "photos")
    text = refusal(photos, "--resolution=32")
    assert text.endswith("lower it, or choose another --workdir")
    text = refusal(photos.parent / "runs/photos_data/photos", "--resolution=32")
    assert text.endswith("lower it, or name another set")


def test_a_removed_set_of_a_begun_run_is_prepared_at_the_runs_own_side(photos):
    """A chosen side depends on the time, which the second call may have less of."""
    run = photos.parent / "runs" / "photos"
    begin(run)
    assert "was begun with the images in" in refusal(photos, "--minutes=1")
    record, _ = read_description(photos.parent / "runs/photos_data/photos")
    assert record["resolution"] == 32


@pytest.mark.parametrize("source", ["hf:USER/NAME", "folder:photos"])
def test_sources_of_prepare_data_are_named_as_such(source):
    assert "prepare other sources by progan_jax prepare_data" in refusal(source)
