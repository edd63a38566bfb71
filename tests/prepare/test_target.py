"""Targets of a projection, read as the images of a set are."""

import numpy as np
import pytest
from PIL import Image

from progan_jax.errors import UserError
from progan_jax.prepare.target import read_target


@pytest.fixture
def quarters(tmp_path):
    """A picture of four coloured quarters, and red stripes at both sides."""
    pixels = np.zeros((16, 24, 3), np.uint8)
    pixels[:, :4] = pixels[:, 20:] = (255, 0, 0)
    pixels[8:, 4:20] = (0, 200, 0)
    path = tmp_path / "wide.png"
    Image.fromarray(pixels).save(path)
    return path, pixels


def test_targets_of_another_size_are_cropped_and_resized_with_a_line(quarters):
    path, pixels = quarters
    target, line = read_target(path, 16, 3)
    np.testing.assert_array_equal(target, pixels[:, 4:20])
    assert line == f"{path} is 24x16: its middle square is resized to 16x16"
    smaller, line = read_target(path, 4, 3)
    assert smaller.shape == (4, 4, 3)
    assert smaller[..., 0].max() == 0 and smaller[3, :, 1].min() > 180


def test_targets_of_the_right_size_are_taken_as_they_are(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    target, line = read_target(tmp_path / "a.png", 8, 3)
    np.testing.assert_array_equal(target, pixels)
    assert line == ""
    grey, _ = read_target(tmp_path / "a.png", 8, 1)
    assert grey.shape == (8, 8, 1)


@pytest.mark.parametrize("content", [b"no image", b"\x89PNG\r\n\x1a\n", b"", None])
def test_what_is_no_image_is_one_line(tmp_path, content):
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"^IMAGE=.*a\.png: it cannot be read as an im"):
        read_target(path, 8, 3)
    with pytest.raises(UserError, match=r"^IMAGE="):
        read_target(tmp_path, 8, 3)


def test_deep_and_transparent_targets_are_read_as_images_of_a_set_are(tmp_path):
    grey = np.array([[0, 257, 25700, 65535]] * 4, np.uint16)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    target, _ = read_target(tmp_path / "deep.png", 4, 3)
    np.testing.assert_array_equal(target[0], [[n] * 3 for n in (0, 1, 100, 255)])
    Image.new("RGBA", (4, 4), (0, 0, 200, 0)).save(tmp_path / "clear.png")
    target, _ = read_target(tmp_path / "clear.png", 4, 3)
    assert np.all(target == 255)
    # A camera that was held upright: the first row is the right column.
    exif = Image.Exif()
    exif[0x0112] = 6
    rows = np.zeros((4, 4, 3), np.uint8)
    rows[0] = 200
    Image.fromarray(rows).save(tmp_path / "turned.png", exif=exif)
    target, _ = read_target(tmp_path / "turned.png", 4, 3)
    np.testing.assert_array_equal(target, rows.transpose(1, 0, 2)[:, ::-1])
