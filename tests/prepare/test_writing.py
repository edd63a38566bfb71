import csv
import functools
import json
import multiprocessing
import os
import resource
import signal
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds

from progan_jax.data.decoding import square
from progan_jax.data.prepared import RECORD
from progan_jax.data.pyramid import build_pyramid
from progan_jax.data.sources import load
from progan_jax.errors import UserError
from progan_jax.prepare.readers import Item, Reader, SyntheticReader
from progan_jax.prepare.unfinished import alone_in, begin, choose
from progan_jax.prepare.writing import (
    Settings,
    finish,
    to_square,
    write_pyramid,
    write_skipped,
)

IDENTITY = {"source": "folder:x", "crop": "centre", "images": "a", "times": "b"}


class Shapes(Reader):
    """Images of many sizes; some of them bad."""

    name, num_classes = "shapes", 3

    def __init__(self, n, bad=()):
        self._n, self._bad = n, bad

    def __len__(self):
        return self._n

    def name_of(self, index):
        return f"{index}.png"

    def __getitem__(self, index):
        if index in self._bad:
            return Item(f"{index}.png", b"no image", index % 3)
        rng = np.random.default_rng(index)
        h, w = rng.integers(5, 30, 2)
        return Item(
            f"{index}.png", rng.integers(0, 256, (h, w, 3), np.uint8), index % 3
        )


class Grey(SyntheticReader):
    """Grey noise."""

    def __getitem__(self, index):
        item = super().__getitem__(index)
        return Item(item.name, item.data[..., :1], item.label)


class Slow(Shapes):
    """Takes its time, so that a kill finds it at work."""

    def __getitem__(self, index):
        time.sleep(0.02)
        return super().__getitem__(index)


def prepare(reader, folder, settings, workers=1, identity=IDENTITY):
    shards = write_pyramid(
        reader, folder, settings, identity, workers, lambda num_images: None
    )
    finish(folder, reader, settings, identity, shards)
    return shards


def contents(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file()
    }


def expected(reader, resolution, skip=()):
    images = [
        square(reader[i].data, resolution, "centre", "none")
        for i in range(len(reader))
        if i not in skip
    ]
    labels = np.int32([reader[i].label for i in range(len(reader)) if i not in skip])
    return build_pyramid("shapes", np.stack(images), labels, 3)


@pytest.mark.parametrize("raw_up_to", [0, 8, 128])
def test_every_level_is_the_pyramid_of_the_squares(tmp_path, raw_up_to):
    settings = Settings(16, raw_up_to=raw_up_to)
    prepare(Shapes(7), tmp_path / "shapes", settings)
    pyramid = load("shapes", str(tmp_path), "train", 16, 100)
    wanted = expected(Shapes(7), 16)
    assert pyramid.levels.keys() == {4, 8, 16}
    for side in pyramid.levels:
        assert np.array_equal(pyramid.levels[side][:], wanted.levels[side])
    assert np.array_equal(pyramid.labels, wanted.labels)
    assert pyramid.num_classes == 3
    assert pyramid.name == "shapes"


@pytest.mark.parametrize(("stored", "wanted"), [(1, 3), (3, 1), (3, 3), (1, 1)])
def test_pixels_get_the_channels_that_are_asked_for(stored, wanted):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, stored), np.uint8)
    made = to_square(pixels, Settings(8, channels=wanted))
    assert made.shape == (8, 8, wanted)
    # Grey is ITU-R 601's luma of colours, and colours of grey are three times the same.
    weights = np.float64([0.299, 0.587, 0.114]) if stored == 3 else np.ones(1)
    grey = (pixels * weights).sum(axis=2, keepdims=True)
    assert np.abs(made - (grey if stored != wanted else pixels)).max() < 1


def test_names_of_classes_are_kept_with_the_set_and_with_tfds(tmp_path):
    class Named(Shapes):
        class_names = ("ant", "bee", "ca\u00e9t")

    folder = tmp_path / "shapes"
    prepare(Named(5), folder, Settings(8, raw_up_to=4))
    pyramid = load("shapes", str(tmp_path), "train", 8, 100)
    assert pyramid.class_names == Named.class_names
    for level in ("r004", "r008"):
        features = tfds.builder_from_directory(folder / level / "1.0.0").info.features
        assert features["label"].names == list(Named.class_names)
    record = json.loads((folder / RECORD).read_text())
    del record["class_names"], record["checksum"]  # As earlier programs wrote it.
    (folder / RECORD).write_text(json.dumps(record))
    earlier = load("shapes", str(tmp_path), "train", 8, 100)
    assert (earlier.class_names, earlier.num_classes) == ((), 3)
    assert earlier.fingerprint == pyramid.fingerprint


def test_a_smaller_resolution_of_a_pyramid_may_be_trained(tmp_path):
    prepare(Shapes(5), tmp_path / "shapes", Settings(16))
    small = load("shapes", str(tmp_path), "train", 8, 100)
    whole = load("shapes", str(tmp_path), "train", 16, 100)
    assert small.levels.keys() == {4, 8}
    assert np.array_equal(small.levels[8][:], whole.levels[8][:])
    assert small.fingerprint != whole.fingerprint
    with pytest.raises(UserError, match="must be 32x32"):
        load("shapes", str(tmp_path), "train", 32, 100)


def test_levels_are_tfds_sets(tmp_path):
    prepare(Shapes(5), tmp_path / "shapes", Settings(8))
    source = tfds.data_source("shapes/r008", data_dir=tmp_path, split="train")
    wanted = expected(Shapes(5), 8)
    assert len(source) == 5
    assert np.array_equal(source[3]["image"], wanted.levels[8][3])
    assert source[3]["label"] == 0
    builder = tfds.builder_from_directory(tmp_path / "shapes" / "r004" / "1.0.0")
    assert builder.info.splits["train"].num_examples == 5


@pytest.mark.parametrize(("channels", "stored"), [(1, b"\x89PNG"), (3, b"RIFF")])
def test_large_levels_are_compressed_and_lose_nothing(tmp_path, channels, stored):
    settings = Settings(8, channels=channels, raw_up_to=4)
    reader = Grey(3, 8) if channels == 1 else SyntheticReader(3, 8)
    prepare(reader, tmp_path / "set", settings)
    builder = tfds.builder_from_directory(tmp_path / "set" / "r008" / "1.0.0")
    skip = {"image": tfds.decode.SkipDecoding()}
    (example, *_) = builder.as_data_source("train", decoders=skip)
    assert example["image"].startswith(stored)
    images = [example["image"] for example in builder.as_data_source("train")]
    pyramid = load("set", str(tmp_path), "train", 8, 100)
    for i in range(3):
        assert np.array_equal(images[i], reader[i].data)
        assert np.array_equal(pyramid.levels[8][np.array([i])][0], reader[i].data)


def test_bad_images_are_left_out_and_named(tmp_path):
    reader = Shapes(9, bad=(2, 5))
    shards = prepare(reader, tmp_path / "shapes", Settings(8))
    assert [name for s in shards for name, _ in s.skipped] == ["2.png", "5.png"]
    pyramid = load("shapes", str(tmp_path), "train", 8, 100)
    assert np.array_equal(pyramid.levels[8][:], expected(reader, 8, (2, 5)).levels[8])
    record = json.loads((tmp_path / "shapes" / RECORD).read_text())
    assert (record["num_images"], record["num_skipped"]) == (7, 2)


def test_strictness_makes_a_bad_image_an_error(tmp_path):
    with pytest.raises(UserError, match=r"2\.png: cannot identify"):
        prepare(Shapes(9, bad=(2,)), tmp_path / "shapes", Settings(8, strict=True))
    assert not (tmp_path / "shapes" / RECORD).exists()


def test_a_full_disk_is_one_line_and_costs_nothing(tmp_path):
    reader, folder = SyntheticReader(600, 16), tmp_path / "set"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**14, limits[1]))
    try:
        with pytest.raises(UserError, match="make room, and run the same command"):
            prepare(reader, folder, Settings(16))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (folder / RECORD).exists()
    prepare(reader, folder, Settings(16))
    prepare(reader, tmp_path / "other" / "set", Settings(16))
    assert contents(folder) == contents(tmp_path / "other" / "set")


@pytest.mark.parametrize("name", ["file/set", "nowhere/set"])
def test_a_folder_that_cannot_be_made_is_refused(tmp_path, name):
    (tmp_path / "file").write_text("")
    if name == "nowhere/set":
        (tmp_path / "nowhere").symlink_to(tmp_path / "loop")
        (tmp_path / "loop").symlink_to(tmp_path / "nowhere")
    fault = r"cannot be made .*; choose another folder"
    with pytest.raises(UserError, match=fault), alone_in(tmp_path / name):
        pass


def test_work_that_was_ended_before_its_identity_is_taken_up(tmp_path):
    (tmp_path / "set" / ".partial" / "done").mkdir(parents=True)
    prepare(SyntheticReader(3, 8), tmp_path / "set", Settings(8))
    with pytest.raises(UserError, match="has a finished pyramid"):
        begin(tmp_path / "set", IDENTITY)


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr("progan_jax.prepare.writing._MOST_IMAGES", 4)


@pytest.mark.usefixtures("small_shards")
def test_work_that_was_stopped_continues_with_what_is_missing(tmp_path):
    settings, done = Settings(8), []

    def stop_at_two(num_images):
        done.append(num_images)
        if len(done) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_pyramid(
            Shapes(15), tmp_path / "a" / "shapes", settings, IDENTITY, 1, stop_at_two
        )
    prepare(Shapes(15), tmp_path / "a" / "shapes", settings)
    prepare(Shapes(15), tmp_path / "b" / "shapes", settings)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.usefixtures("small_shards")
def test_other_settings_may_not_take_the_work_up(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_pyramid(
            Shapes(15), tmp_path / "shapes", Settings(8), IDENTITY, 1, interrupted
        )
    before = contents(tmp_path)
    for changes, words in (
        ({"crop": "none"}, "--crop=none, and .*shapes was begun with centre"),
        ({"images": "c"}, "was begun with other images, of folder:x; they, their"),
        ({"times": "c"}, "or their times have changed; remove .*shapes to start"),
    ):
        with pytest.raises(UserError, match=words):
            begin(tmp_path / "shapes", IDENTITY | changes)
    begin(tmp_path / "shapes", IDENTITY | {"source": "folder:./x"})
    assert contents(tmp_path) == before


@pytest.mark.usefixtures("small_shards")
def test_strictness_may_change_on_the_way(tmp_path):
    reader, folder = Shapes(9, bad=(5,)), tmp_path / "shapes"
    with pytest.raises(UserError, match=r"5\.png: cannot identify.*omit --strict"):
        prepare(reader, folder, Settings(8, strict=True))
    shards = write_pyramid(
        reader, folder, Settings(8), IDENTITY, 1, lambda num_images: None
    )
    assert [s.num_images for s in shards] == [4, 3, 1]
    with pytest.raises(UserError, match=r"5\.png: cannot identify"):
        prepare(reader, folder, Settings(8, strict=True))


def test_another_choice_of_images_removes_what_was_written(tmp_path):
    folder = tmp_path / "shapes"
    begin(folder, IDENTITY)
    choose(folder, 5)
    write_pyramid(Shapes(5), folder, Settings(8), IDENTITY, 1, lambda num_images: None)
    before = contents(folder)
    choose(folder, 5)
    assert contents(folder) == before
    choose(folder, None)
    assert {name.split("/")[1] for name in contents(folder)} == {
        "identity.json",
        "keep.json",
    }


def test_damaged_records_of_unfinished_work_are_reported_or_made_again(tmp_path):
    folder = tmp_path / "shapes"
    write_pyramid(Shapes(5), folder, Settings(8), IDENTITY, 1, lambda num_images: None)
    (folder / ".partial" / "done" / "00000.json").write_text('{"index"')
    prepare(Shapes(5), folder, Settings(8))
    (folder / RECORD).unlink()
    (folder / ".partial").mkdir()
    for text in ('{"images"', "[" * 100_000):
        (folder / ".partial" / "identity.json").write_text(text)
        with pytest.raises(UserError, match=r"identity\.json is damaged.*remove"):
            begin(folder, IDENTITY)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("damage", ["label", "brackets"])
def test_a_shard_whose_record_is_damaged_is_made_again(tmp_path, damage):
    folder = tmp_path / "a" / "shapes"
    write_pyramid(Shapes(7), folder, Settings(8), IDENTITY, 1, lambda num_images: None)
    path = folder / ".partial" / "done" / "00001.json"
    record = json.loads(path.read_text())
    record["labels"][0] = 0 if record["labels"][0] else 1
    path.write_text(json.dumps(record) if damage == "label" else "[" * 100_000)
    prepare(Shapes(7), folder, Settings(8))
    prepare(Shapes(7), tmp_path / "b" / "shapes", Settings(8))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize(
    ("num_images", "side", "size"),
    [(7, 8, 32), (1025, 8, 33), (50_000, 32, 1563), (10**6, 8, 2048), (9999, 1024, 85)],
)
def test_small_sets_have_shards_for_many_workers(num_images, side, size):
    assert Settings(side).shard_images(num_images) == size


def interrupted(shard):
    raise KeyboardInterrupt


def test_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "shapes").mkdir()
    (tmp_path / "shapes" / "holiday.jpg").write_bytes(b"sun")
    with pytest.raises(UserError, match="is in use"):
        prepare(Shapes(3), tmp_path / "shapes", Settings(8))


def test_a_half_written_pyramid_is_not_taken_for_one(tmp_path):
    prepare(Shapes(5), tmp_path / "shapes", Settings(8))
    (tmp_path / "shapes" / RECORD).unlink()
    with pytest.raises(UserError, match=r"pyramid\.json is missing, and its levels"):
        load("shapes", str(tmp_path), "train", 8, 100)


def test_several_processes_write_the_same_bytes(tmp_path):
    reader, settings = SyntheticReader(300, 8), Settings(8)
    prepare(reader, tmp_path / "one" / "synthetic", settings, workers=1)
    prepare(reader, tmp_path / "two" / "synthetic", settings, workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def write_slowly(folder):
    from progan_jax.prepare import writing

    writing._MOST_IMAGES = 4
    prepare(Slow(40), folder, Settings(8))


@pytest.mark.usefixtures("small_shards")
def test_kills_leave_no_trace_in_the_result(tmp_path):
    folder = tmp_path / "killed" / "shapes"
    context = multiprocessing.get_context("spawn")
    for kill in range(2):
        process = context.Process(target=functools.partial(write_slowly, folder))
        process.start()
        while len(list((folder / ".partial" / "done").glob("*"))) < 2 * kill + 1:
            assert process.is_alive()
            time.sleep(0.01)
        time.sleep(0.03)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    prepare(Slow(40), folder, Settings(8))
    prepare(Slow(40), tmp_path / "whole" / "shapes", Settings(8))
    assert contents(folder) == contents(tmp_path / "whole" / "shapes")


def test_skipped_names_and_reasons_are_a_line_each_with_backslashes_for_the_rest(
    tmp_path,
):
    skipped = [(os.fsdecode(b"caf\xe9.png"), "why"), ('a,"b\nc.png', "two\nlines")]
    write_skipped(tmp_path, skipped)
    text = (tmp_path / "skipped.csv").read_text(encoding="utf-8")
    assert list(csv.reader(text.splitlines())) == [
        ["image", "reason"],
        [r"caf\udce9.png", "why"],
        [r'a,"b\nc.png', r"two\nlines"],
    ]
