"""The choice among sizes, on LMDBs of several programs."""

import io

import lmdb
import pytest
from PIL import Image

from progan_jax.data.decoding import decode
from progan_jax.prepare.lmdb_reader import LmdbReader


def image(width, height=None, grey=0):
    buffer = io.BytesIO()
    size = (width, height or width)
    Image.new("RGB", size, (grey,) * 3).save(buffer, "JPEG")
    return buffer.getvalue()


def read(folder, items, resolution):
    """Returns names and widths of the images of an LMDB, and its remarks."""
    with (
        lmdb.open(str(folder), map_size=2**26) as environment,
        environment.begin(write=True) as transaction,
    ):
        for key, value in items.items():
            transaction.put(key.encode(), value)
    reader = LmdbReader(folder, resolution=resolution)
    widths = [decode(reader[i].data, 3).shape[1] for i in range(len(reader))]
    assert len(list(reader.listing())) == 1 + len(reader)
    names = [reader[i].name for i in range(len(reader))]
    return names, widths, reader.remarks


def sized(sizes, number):
    """Returns what the programs for StyleGAN2 in PyTorch write."""
    return {f"{size}-{i:05d}": image(size) for size in sizes for i in range(number)}


@pytest.mark.parametrize(
    ("resolution", "size"), [(8, 20), (16, 20), (32, 40), (64, 80), (128, 80)]
)
@pytest.mark.parametrize("length", [{}, {"length": b"8"}])
def test_of_each_image_the_smallest_size_that_suffices_is_read(
    tmp_path, resolution, size, length
):
    items = sized([20, 40, 80], 8) | length
    names, widths, remarks = read(tmp_path / "x", items, resolution)
    assert names == [f"{size}-{i:05d}" for i in range(8)]
    assert widths == 8 * [size]
    assert remarks == (
        f"lmdb:{tmp_path / 'x'}: it has 8 images in 3 sizes (20, 40, 80); of each that "
        f"of {size} is read",
    )


@pytest.mark.parametrize(
    "form", ["{size}_{i:05d}", "{i:05d}-{size}", "{i:05d}_{size}", "{i}/{size}"]
)
def test_keys_of_another_form_are_sizes_and_numbers_too(tmp_path, form):
    items = {
        form.format(size=size, i=i): image(size) for size in (20, 40) for i in range(8)
    }
    names, widths, remarks = read(tmp_path / "x", items, 32)
    assert names == [form.format(size=40, i=i) for i in range(8)]
    assert widths == 8 * [40]
    assert len(remarks) == 1 and "8 images in 2 sizes (20, 40)" in remarks[0]


def test_an_image_without_the_size_is_read_in_another(tmp_path):
    items = sized([20, 40, 80], 3)
    del items["40-00001"], items["40-00002"], items["80-00002"]
    names, _, remarks = read(tmp_path / "x", items, 32)
    assert names == ["40-00000", "80-00001", "20-00002"]
    assert remarks[0].endswith("of each that of 80 or 40 or 20 is read")


def test_images_are_in_the_order_of_their_numbers(tmp_path):
    items = {f"{size}-{i}": image(size) for i in (2, 10, 1) for size in (8, 16)}
    assert read(tmp_path / "x", items, 16)[0] == ["16-1", "16-2", "16-10"]


def test_missing_images_of_an_announced_number_are_reported(tmp_path):
    names, _, remarks = read(tmp_path / "x", sized([16], 3) | {"length": b"5"}, 16)
    assert names == ["16-00000", "16-00001", "16-00002"]
    assert remarks == (f"lmdb:{tmp_path / 'x'}: 3 of 5 images are there",)


@pytest.mark.parametrize(
    "keys",
    [
        ["20-00000", "20-00001", "40-00000", "40-00001"],  # People and their pictures.
        [f"{i:040x}" for i in range(4)],  # LSUN.
        ["0-0", "0-1", "1-0", "1-1"],
        ["20-00000", "cat-00000", "dog-00000"],
        ["20_00000", "40_00000"],
        ["00000-20", "00000-40"],
        ["16.00000", "16-00001-00000"],
        ["16-1", "16-01"],  # Two of one number.
        ["00000001", "00000002"],
    ],
)
def test_keys_that_only_look_alike_are_images_of_their_own(tmp_path, keys):
    items = {key: image(16, 24, grey) for grey, key in enumerate(keys)}
    names, _, remarks = read(tmp_path / "x", items, 8)
    assert (names, remarks) == (sorted(keys), ())


def test_a_damaged_first_image_of_a_size_does_not_hide_it(tmp_path):
    items = sized([20, 40], 4) | {"40-00000": b"damaged"}
    with pytest.raises(Exception, match="cannot identify"):
        read(tmp_path / "x", items, 32)
    assert len(LmdbReader(tmp_path / "x", resolution=32)) == 4
