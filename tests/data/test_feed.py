import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from progan_jax.data.feed import Feed, plan_feed
from progan_jax.data.index_stream import IndexStream
from progan_jax.data.pyramid import build_pyramid

_MASK = 2**64 - 1


def _philox_words(key, count):
    """Philox4x64-10 on Python integers. Source: Salmon et al. 2011, section 3.3."""
    words, block = [], 0
    while len(words) < count:
        block += 1  # NumPy steps the counter before each block.
        k0, k1 = key & _MASK, key >> 64
        c = [block, 0, 0, 0]
        for _ in range(10):
            p0, p1 = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
            c = [(p1 >> 64) ^ c[1] ^ k0, p1 & _MASK, (p0 >> 64) ^ c[3] ^ k1, p0 & _MASK]
            k0, k1 = (
                (k0 + 0x9E3779B97F4A7C15) & _MASK,
                (k1 + 0xBB67AE8584CAA73B) & _MASK,
            )
        words += c
    return words[:count]


def _slow_stream(seed, num_images, count):
    """The documented definition, by sorting Python tuples."""
    shown, epoch = [], 0
    while len(shown) < count:
        words = _philox_words(seed + (epoch << 64), num_images)
        order = sorted((word >> 1, i) for i, word in enumerate(words))
        shown += [(i, bool(words[i] & 1)) for _, i in order]
        epoch += 1
    return [list(column) for column in zip(*shown[:count], strict=True)]


@pytest.mark.parametrize("seed", [0, 1000, 2**64 - 1])
def test_stream_follows_its_definition_over_epochs(seed):
    indices, mirror = IndexStream(seed, num_images=11, mirror=True).take(0, 40)
    assert [indices.tolist(), mirror.tolist()] == _slow_stream(seed, 11, 40)
    assert (indices.dtype, mirror.dtype) == (np.int32, bool)


def test_stream_of_a_seed_never_changes():
    # Computed by _slow_stream: a run that continues under another NumPy must see them.
    indices, mirror = IndexStream(1000, num_images=10, mirror=True).take(0, 20)
    assert indices.reshape(2, 10).tolist() == [
        [4, 0, 2, 5, 6, 3, 7, 8, 9, 1],
        [0, 8, 2, 3, 5, 1, 6, 7, 9, 4],
    ]
    assert mirror.astype(int).reshape(2, 10).tolist() == [
        [0, 1, 1, 0, 0, 0, 1, 1, 0, 1],
        [1, 0, 0, 0, 0, 0, 0, 1, 1, 1],
    ]


seeds = st.integers(0, 2**64 - 1)
sizes = st.integers(1, 50)


@given(seeds, sizes, st.integers(0, 10**6), st.lists(st.integers(0, 40), max_size=8))
def test_stream_split_anywhere_equals_the_unsplit_one(seed, num_images, nimg, lengths):
    whole = IndexStream(seed, num_images, mirror=True).take(nimg, sum(lengths))
    stream, parts = IndexStream(seed, num_images, mirror=True), [([], [])]
    for length in lengths:
        parts.append(stream.take(nimg, length))
        nimg += length
    for of_whole, of_parts in zip(whole, zip(*parts, strict=True), strict=True):
        np.testing.assert_array_equal(of_whole, np.concatenate(of_parts))


@given(seeds, sizes, st.integers(0, 10**6), st.booleans())
def test_every_epoch_shows_every_image_once(seed, num_images, epoch, mirror):
    stream = IndexStream(seed, num_images, mirror)
    indices, _ = stream.take(epoch * num_images, num_images)
    assert sorted(indices.tolist()) == list(range(num_images))


@given(seeds, sizes, st.integers(0, 1000), st.integers(0, 100))
def test_mirroring_leaves_the_order_alone(seed, num_images, nimg, count):
    plain, unmirrored = IndexStream(seed, num_images, False).take(nimg, count)
    mirrored, _ = IndexStream(seed, num_images, True).take(nimg, count)
    assert not unmirrored.any()
    np.testing.assert_array_equal(plain, mirrored)


def test_another_half_of_the_images_is_mirrored_in_each_epoch():
    indices, mirror = IndexStream(3, num_images=1000, mirror=True).take(0, 2000)
    first, second = np.zeros((2, 1000), bool)
    first[indices[:1000]], second[indices[1000:]] = mirror[:1000], mirror[1000:]
    # Five standard deviations of 1,000 fair coins are 79.
    for flips in (first, second, first ^ second):
        assert abs(flips.sum() - 500) < 79


def test_epochs_and_seeds_differ():
    stream = IndexStream(3, num_images=100, mirror=False)
    first, second = stream.take(0, 100)[0], stream.take(100, 100)[0]
    other = IndexStream(4, num_images=100, mirror=False).take(0, 100)[0]
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert not np.array_equal(second, other)


_LABELLED = build_pyramid(
    "noise",
    np.random.default_rng(0).integers(0, 256, (37, 8, 8, 3), dtype=np.uint8),
    np.random.default_rng(1).integers(0, 5, 37).astype(np.int32),
    num_classes=5,
)


def _open_feed(mode, *, pyramid=_LABELLED, max_pairs=3, batch_size=8, mib=1.0):
    mesh = Mesh(np.array(jax.devices()), "data")
    plan = plan_feed(
        pyramid.levels[4].shape,
        batch_size=batch_size,
        d_repeats=2,
        max_pairs=max_pairs,
        mode=mode,
        resident_gib=mib / 1024,
    )
    return Feed(
        pyramid,
        IndexStream(7, pyramid.num_images, mirror=True),
        plan,
        replicated=NamedSharding(mesh, PartitionSpec()),
        batched=NamedSharding(mesh, PartitionSpec(None, None, "data")),
    )


_take = jax.jit(lambda batches, pair, repeat: batches.take(pair, repeat))


@pytest.mark.parametrize("mode", ["resident", "streamed"])
@pytest.mark.parametrize("num_pairs", [1, 3])
def test_takes_are_the_streams_images_in_order(mode, num_pairs):
    feed, nimg = _open_feed(mode), 30
    batches = feed.batches(nimg, num_pairs)
    shown, flips = _slow_stream(7, 37, nimg + num_pairs * 16)
    for pair, repeat in np.ndindex(num_pairs, 2):
        images, labels, mirror = _take(batches, pair, repeat)
        start = nimg + (pair * 2 + repeat) * 8
        rows = shown[start : start + 8]
        np.testing.assert_array_equal(images, _LABELLED.levels[4][rows])
        np.testing.assert_array_equal(labels, _LABELLED.labels[rows])
        assert mirror.tolist() == flips[start : start + 8]
        assert (images.dtype, labels.dtype, mirror.dtype) == (np.uint8, np.int32, bool)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3))
def test_both_modes_give_identical_takes(nimg, num_pairs):
    batches = [_open_feed(m).batches(nimg, num_pairs) for m in ("resident", "streamed")]
    for pair, repeat in np.ndindex(num_pairs, 2):
        resident, streamed = (_take(b, pair, repeat) for b in batches)
        jax.tree.map(np.testing.assert_array_equal, resident, streamed)


@pytest.mark.parametrize("mode", ["resident", "streamed"])
def test_batch_size_does_not_change_the_order(mode):
    def shown(batch_size, max_pairs):
        batches = _open_feed(mode, batch_size=batch_size, max_pairs=max_pairs).batches(
            5, max_pairs
        )
        takes = [_take(batches, *at) for at in np.ndindex(max_pairs, 2)]
        return [np.concatenate(column) for column in zip(*takes, strict=True)]

    jax.tree.map(np.testing.assert_array_equal, shown(8, 4), shown(16, 2))


@pytest.mark.parametrize("mode", ["resident", "streamed"])
def test_one_program_serves_any_number_of_pairs(mode):
    feed = _open_feed(mode)
    few, all_pairs = feed.batches(0, 1), feed.batches(16, 3)
    assert jax.tree.map(jax.typeof, few) == jax.tree.map(jax.typeof, all_pairs)
    assert jax.tree.map(lambda x: x.sharding, few) == jax.tree.map(
        lambda x: x.sharding, all_pairs
    )
    per_pair = [few.mirror, few.indices if mode == "resident" else few.images]
    per_pair += [] if mode == "resident" else [few.labels]
    for column in per_pair:
        assert column.shape[:3] == (3, 2, 8)
        assert not np.any(column[1:])


@pytest.mark.parametrize("mode", ["resident", "streamed"])
def test_rows_are_split_over_the_devices_and_a_resident_level_is_not(mode):
    feed = _open_feed(mode)
    batches = feed.batches(0, 3)
    local = batches.mirror.sharding.shard_shape(batches.mirror.shape)
    assert local == (3, 2, 8 // len(jax.devices()))
    if mode == "resident":
        assert batches.images.sharding.is_fully_replicated
        assert batches.images is feed.batches(48, 1).images


def test_auto_makes_resident_what_fits():
    exactly = _LABELLED.levels[4].nbytes / 2**20
    assert _open_feed("auto", mib=exactly).mode == "resident"
    assert _open_feed("auto", mib=exactly * 0.999).mode == "streamed"
    assert _open_feed("resident", mib=0).mode == "resident"
    assert _open_feed("streamed").mode == "streamed"


@pytest.mark.parametrize("mode", ["resident", "streamed"])
def test_labels_are_zeros_without_classes(mode):
    pyramid = build_pyramid("noise", _LABELLED.levels[8], None, num_classes=0)
    _, labels, _ = _open_feed(mode, pyramid=pyramid).batches(0, 3).take(2, 1)
    np.testing.assert_array_equal(labels, np.zeros(8))
    assert labels.dtype == np.int32
