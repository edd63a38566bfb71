import pickle

import numpy as np
import pytest
from absl import flags

from progan_jax.data.decoding import square
from progan_jax.data.index_stream import IndexStream
from progan_jax.data.levels import RecordLevel
from progan_jax.data.readers import SyntheticReader
from progan_jax.data.shards import Settings
from progan_jax.data.streaming import PairStream
from progan_jax.data.writing import finish, write_pyramid

N, SIDE = 40, 8


@pytest.fixture(scope="module", params=[0, 128], ids=["webp", "raw"])
def folder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("set") / "synthetic"
    reader, settings = SyntheticReader(N, SIDE), Settings(SIDE, raw_up_to=request.param)
    shards = write_pyramid(reader, folder, settings, {}, 1, lambda shard: None)
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
    for index in (slice(None), slice(3, 30, 4), np.array([5, 5, 0, 39])):
        assert np.array_equal(level[index], images[index])
    table = np.arange(12).reshape(3, 4)
    assert np.array_equal(level[table], images[table])


def test_a_level_travels_to_other_processes_even_when_open(level, images):
    assert np.array_equal(level[np.array([1])], images[1:2])
    copy = pickle.loads(pickle.dumps(level))
    assert np.array_equal(copy[np.array([7])], images[7:8])


def wanted(images, stream, nimg, num_pairs, pair_images):
    indices, _ = stream.take(nimg, num_pairs * pair_images)
    return images[indices].reshape(num_pairs, pair_images, *images.shape[1:])


def test_pairs_are_those_of_the_index_stream_over_epochs(level, images):
    stream = IndexStream(1, N, mirror=True)
    pairs, nimg = PairStream(level, stream, 6, workers=0), 18
    for num_pairs in (1, 3, 2, 5, 9):
        expected = wanted(images, stream, nimg, num_pairs, 6)
        assert np.array_equal(pairs.take(nimg, num_pairs), expected)
        nimg += num_pairs * 6
    pairs.close()


def test_a_jump_starts_the_reading_anew(level, images):
    stream = IndexStream(1, N, mirror=False)
    pairs = PairStream(level, stream, 4, workers=0)
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


@pytest.mark.slow
def test_processes_read_what_threads_read(folder, images):
    flags.FLAGS.mark_as_parsed()  # grain asks them; a command has parsed them.
    level, stream = RecordLevel(folder, SIDE, N, 3), IndexStream(1, N, mirror=False)
    pairs = PairStream(level, stream, 4, workers=2)
    expected = wanted(images, stream, 0, 7, 4)
    assert np.array_equal(pairs.take(0, 7), expected)
    pairs.close()
