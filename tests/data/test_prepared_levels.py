import pickle
import time
from pathlib import Path

import numpy as np
import pytest
from absl import flags

from progan_jax.data.decoding import square
from progan_jax.data.index_stream import IndexStream
from progan_jax.data.prepared import RecordLevel
from progan_jax.data.streaming import PairStream
from progan_jax.prepare.readers import SyntheticReader
from progan_jax.prepare.writing import Settings, finish, write_pyramid

N, SIDE = 40, 8


@pytest.fixture(scope="module", params=[0, 128], ids=["webp", "raw"])
def folder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("set") / "synthetic"
    reader, settings = SyntheticReader(N, SIDE), Settings(SIDE, raw_up_to=request.param)
    shards = write_pyramid(reader, folder, settings, {}, 1, lambda num_images: None)
    finish(folder, reader, settings, {}, shards)
    return folder


@pytest.fixture(scope="module")
def images():
    reader = SyntheticReader(N, SIDE)
    return np.stack([square(reader[i].data, SIDE, "none", "none") for i in range(N)])


@pytest.fixture
def level(folder):
    return RecordLevel(folder, SIDE, N, 3)


def test_a_level_is_used_like_its_array(level, images):
    assert level.shape == images.shape
    assert level.nbytes == images.nbytes
    assert len(level) == N
    level.check()
    for index in (slice(None), slice(3, 30, 4), np.array([5, 5, 0, 39])):
        assert np.array_equal(level[index], images[index])
    table = np.arange(12).reshape(3, 4)
    assert np.array_equal(level[table], images[table])


def test_a_level_travels_to_other_processes_even_when_open(level, images):
    assert np.array_equal(level[np.array([1])], images[1:2])
    copy = pickle.loads(pickle.dumps(level))
    assert np.array_equal(copy[np.array([7])], images[7:8])


def open_pairs(level, stream, batch_size, *, d_repeats=1, rows=None, workers=0):
    rows = np.arange(batch_size) if rows is None else np.asarray(rows)
    return PairStream(
        level,
        stream,
        d_repeats=d_repeats,
        batch_size=batch_size,
        rows=rows,
        workers=workers,
    )


def wanted(images, stream, nimg, num_pairs, batch_size, d_repeats=1):
    indices, _ = stream.take(nimg, num_pairs * d_repeats * batch_size)
    shape = (num_pairs, d_repeats, batch_size, *images.shape[1:])
    return images[indices].reshape(shape)


def test_pairs_are_those_of_the_index_stream_over_epochs(level, images):
    stream = IndexStream(1, N, mirror=True)
    pairs, nimg = open_pairs(level, stream, 6), 18
    for num_pairs in (1, 3, 2, 5, 9):
        expected = wanted(images, stream, nimg, num_pairs, 6)
        assert np.array_equal(pairs.take(nimg, num_pairs), expected)
        nimg += num_pairs * 6
    pairs.close()


def test_a_process_reads_only_its_own_rows():
    class Numbers:
        """Level whose images are never looked at, only which of them are read."""

        shape, nbytes, read = (2**20, 1, 1, 1), 2**20, []

        def __len__(self):
            return 2**20

        def __getitem__(self, indices):
            self.read.extend(indices.ravel().tolist())
            return np.zeros((*indices.shape, 1, 1, 1), np.uint8)

    level, stream = Numbers(), IndexStream(1, 2**20, mirror=False)
    pairs = open_pairs(level, stream, 64, rows=[3, 4, 60])
    assert pairs.take(0, 2).shape == (2, 1, 3, 1, 1, 1)
    pairs.close()
    order, _ = stream.take(0, 2**20)
    assert set(order[[3, 4, 60, 67, 68, 124]].tolist()) <= set(level.read)
    assert set(level.read) <= set(order.reshape(-1, 64)[:, [3, 4, 60]].ravel().tolist())


def test_repeats_of_a_pair_are_batches_in_a_row(level, images):
    stream = IndexStream(1, N, mirror=False)
    pairs = open_pairs(level, stream, 4, d_repeats=3, rows=[1, 2])
    expected = wanted(images, stream, 0, 5, 4, d_repeats=3)[:, :, 1:3]
    assert np.array_equal(pairs.take(0, 5), expected)
    pairs.close()


def test_a_jump_restarts_the_reading(level, images):
    stream = IndexStream(1, N, mirror=False)
    pairs = open_pairs(level, stream, 4)
    for nimg in (0, 400, 8, 8):
        expected = wanted(images, stream, nimg, 2, 4)
        assert np.array_equal(pairs.take(nimg, 2), expected)
    pairs.close()


def test_a_stream_travels_to_other_processes():
    stream = IndexStream(5, 10, mirror=True)
    stream.take(3, 4)
    copy = pickle.loads(pickle.dumps(stream))
    for one, other in zip(stream.take(7, 20), copy.take(7, 20), strict=True):
        assert np.array_equal(one, other)


def shared_blocks():
    return {path.name for path in Path("/dev/shm").glob("psm_*")}


@pytest.mark.slow
def test_processes_read_what_threads_read_and_leave_nothing(folder, images):
    before = shared_blocks()
    flags.FLAGS.mark_as_parsed()  # grain asks them; a command has parsed them.
    level, stream = RecordLevel(folder, SIDE, N, 3), IndexStream(1, N, mirror=False)
    pairs = open_pairs(level, stream, 4, workers=2)
    expected = wanted(images, stream, 0, 7, 4)
    assert np.array_equal(pairs.take(0, 7), expected)
    pairs.close()
    # Grain frees what processes share by a thread of its own, soon after.
    deadline = time.monotonic() + 10
    while (left := shared_blocks() - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left
