import io
import itertools
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from progan_jax.data import decoding
from progan_jax.data.decoding import BadImage, decode, square
from tests.memory import allocating_at_most, run_alone


def noise(h, w, c=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (h, w, c), np.uint8)


def encode(image, file_format="png", **options):
    buffer = io.BytesIO()
    image.save(buffer, format=file_format, **options)
    return buffer.getvalue()


def file_of(pixels, file_format="png", **options):
    squeezed = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    return encode(Image.fromarray(squeezed), file_format, **options)


@pytest.mark.parametrize(
    ("file_format", "channels", "options"),
    [("png", 1, {}), ("png", 3, {}), ("webp", 3, {"lossless": True})],
)
def test_lossless_files_are_decoded_exactly(file_format, channels, options):
    pixels = noise(6, 9, channels)
    data = file_of(pixels, file_format, **options)
    assert np.array_equal(decode(data, channels), pixels)


def test_jpeg_is_read_as_pillow_reads_it():
    data = file_of(noise(16, 16), "jpeg", quality=95)
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(decode(data, 3), np.asarray(image))


def test_grey_becomes_three_equal_channels():
    pixels = noise(4, 5, 1)
    assert np.array_equal(decode(file_of(pixels), 3), pixels.repeat(3, axis=2))


def test_sixteen_bits_are_rounded_to_eight():
    values = np.uint16([[0, 128, 129, 257 * 7, 65535]])
    data = encode(Image.fromarray(values))
    assert decode(data, 1)[0, :, 0].tolist() == [0, 0, 1, 7, 255]


def test_transparency_shows_white():
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 3] = [0, 255, 51]
    data = encode(Image.fromarray(pixels))
    assert decode(data, 3)[0, :, 0].tolist() == [255, 0, 204]


def test_palettes_become_their_colours():
    pixels = noise(4, 4) // 200 * 200
    palette = Image.fromarray(pixels).convert("P", palette=Image.Palette.ADAPTIVE)
    expected = np.asarray(palette.convert("RGB"))
    assert np.array_equal(decode(encode(palette), 3), expected)


def test_cmyk_becomes_rgb():
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    red = decode(encode(image, "jpeg", quality=100), 3)
    assert abs(red.astype(int) - [255, 0, 0]).max() < 12


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_cameras_orientation_is_applied(orientation):
    pixels = noise(4, 6)
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = decode(encode(Image.fromarray(pixels), exif=exif.tobytes()), 3)
    quarter_turns = {3: 2, 6: 3, 8: 1}[orientation]
    assert np.array_equal(turned, np.rot90(pixels, quarter_turns))


def good():
    return file_of(noise(64, 64))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"this is a text", "cannot identify image file"),
        (good()[:-3000], "."),
        (good()[:40], "."),
        (good()[:200] + bytes(100) + good()[300:], "."),
        (encode(Image.new("RGB", (4, 4)), "gif"), "cannot identify image file"),
    ],
    ids=["empty", "text", "truncated", "header only", "corrupt", "gif"],
)
def test_bad_files_are_one_kind_of_error_with_a_reason(data, reason):
    with pytest.raises(BadImage, match=reason) as error:
        decode(data, 3)
    assert str(error.value)
    assert "0x" not in str(error.value)


def png(width, height, *chunks, bits=1):
    """Returns a PNG file of black, grey pixels, with chunks before them."""
    rows = zlib.compress(bytes((width * bits // 8 + 1) * height), 9)
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in [(b"IHDR", header), *chunks, (b"IDAT", rows), (b"IEND", b"")]:
        crc = zlib.crc32(kind + body)
        data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)
    return data


@pytest.mark.parametrize(
    ("side", "reason"),
    [
        (11584, "11584x11584 pixels in 16,3.. bytes are no photograph"),
        (2**15, "32768x32768 pixels are too many"),
    ],
)
def test_a_small_file_of_enormous_pixels_is_refused_undecoded(
    monkeypatch, side, reason
):
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2**30)  # Pillow's own guard.
    with pytest.raises(BadImage, match=reason):
        decode(png(side, side), 3)


def test_a_plain_image_of_usual_size_is_read():
    data = png(4096, 4096)
    assert len(data) < 3000
    assert not decode(data, 1).any()


def test_texts_of_a_file_are_not_unpacked_without_bound():
    for kind, start in ((b"zTXt", b"a\0\0"), (b"iCCP", b"a\0\0")):
        body = start + zlib.compress(bytes(2**24), 9)
        data = png(8, 8, (kind, body))
        with (
            allocating_at_most(2**22),
            pytest.raises(BadImage, match="Decompressed data too large"),
        ):
            decode(data, 3)


@pytest.mark.parametrize("file_format", ["png", "webp"])
def test_of_an_animation_the_first_frame_is_taken(file_format):
    frames = [Image.fromarray(noise(8, 8, seed=seed)) for seed in range(3)]
    data = encode(
        frames[0], file_format, save_all=True, append_images=frames[1:], lossless=True
    )
    assert np.array_equal(decode(data, 3), noise(8, 8))


@pytest.mark.parametrize("file_format", ["tiff", "ico", "gif", "ppm", "eps"])
def test_other_formats_are_not_even_opened(file_format):
    data = encode(Image.fromarray(noise(16, 16)), file_format)
    with pytest.raises(BadImage, match="cannot identify image file"):
        decode(data, 3)


@pytest.mark.parametrize("side", [2_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_large_photograph_is_read_in_eight_bytes_a_pixel(tmp_path, side):
    pixels = np.tile(noise(500, 500), (side // 500, side // 500, 1))
    file = tmp_path / "large.jpg"
    Image.fromarray(pixels).save(file, quality=95)
    assert file.stat().st_size > 0.6 * side**2
    lines, grown = run_alone(
        "from progan_jax.data.decoding import decode",
        "print(decode(paths[0].read_bytes(), 3).sum())",
        file,
    )
    total = float(pixels.sum())
    assert int(lines[0]) == pytest.approx(total, rel=1e-3)
    # The file too, and what conversions take at a time.
    assert grown < 8 * side**2 + file.stat().st_size + 2**24


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16"])
def test_strips_make_no_difference(monkeypatch, mode):
    if mode == "I;16":
        image = Image.fromarray(noise(9, 14, 1)[..., 0].astype(np.uint16) * 257)
    else:
        image = Image.fromarray(noise(9, 14, 4)).convert("RGB").convert(mode)
    data = encode(image, "jpeg" if mode == "CMYK" else "png")
    whole = decode(data, 3)
    monkeypatch.setattr(decoding, "_STRIP", 30)
    assert np.array_equal(decode(data, 3), whole)


def test_pillows_own_guard_is_a_bad_image_too(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(BadImage):
        decode(good(), 3)


def test_every_single_byte_of_damage_is_either_an_image_or_a_bad_one():
    data = file_of(noise(8, 8), "jpeg")
    for position, value in itertools.product(range(0, len(data), 7), (0, 255)):
        damaged = data[:position] + bytes([value]) + data[position + 1 :]
        try:
            assert decode(damaged, 3).dtype == np.uint8
        except BadImage as error:
            assert "\n" not in str(error)


def test_every_damage_of_a_png_that_changes_pixels_is_a_bad_image():
    pixels = noise(8, 8)
    data = file_of(pixels, "png")
    changed = 0
    for position, bit in itertools.product(range(len(data)), range(8)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << bit
        try:
            assert np.array_equal(decode(bytes(damaged), 3), pixels)
        except BadImage:
            changed += 1
    assert changed > 4 * len(data)


@pytest.mark.parametrize(("h", "w"), [(8, 8), (8, 12), (13, 8)])
def test_centre_crops_are_the_middle(h, w):
    pixels = noise(h, w)
    out = square(pixels, 8, "centre", "none")
    top, left = (h - 8) // 2, (w - 8) // 2
    assert np.array_equal(out, pixels[top : top + 8, left : left + 8])


@pytest.mark.parametrize(
    ("size", "side", "rows", "columns"),
    [((218, 178), 128, (57, 185), (25, 153)), ((109, 89), 64, (28, 92), (12, 76))],
)
def test_celeba_crops_are_the_papers(size, side, rows, columns):
    pixels = noise(*size)
    out = square(pixels, side, "celeba", "none")
    assert np.array_equal(out, pixels[slice(*rows), slice(*columns)])


def test_celeba_crops_need_celebas_size():
    with pytest.raises(BadImage, match="64x64 is not the size of CelebA"):
        square(noise(64, 64), 64, "celeba", "none")


def test_wide_images_fill_three_quarters_of_a_black_square():
    pixels = noise(12, 16)
    out = square(pixels, 16, "lsun_wide", "none")
    assert np.array_equal(out[2:14], pixels)
    assert not out[:2].any() and not out[14:].any()


@pytest.mark.parametrize(
    ("h", "w", "top", "bottom"),
    # By hand: 16 * 30 / 32 = 15 rows of 30, and 16 * 25 / 32 = 12.5, 12 rows of 25.
    [(30, 32, 7, 22), (25, 32, 6, 18)],
)
def test_a_wide_crop_takes_as_many_rows_as_at_the_squares_width(h, w, top, bottom):
    pixels = noise(h, w)
    middle = Image.fromarray(pixels[top:bottom]).resize((16, 12), Image.LANCZOS)
    out = square(pixels, 16, "lsun_wide", "none")
    assert np.array_equal(out[2:14], np.asarray(middle))


@pytest.mark.parametrize(
    ("h", "w", "why"), [(30, 15, "too narrow"), (22, 32, "too flat")]
)
def test_images_that_do_not_fill_a_wide_square_are_left_out(h, w, why):
    with pytest.raises(BadImage, match=f"{h}x{w} does not fill 12x16: it is {why}"):
        square(noise(h, w), 16, "lsun_wide", "none")


def test_without_a_crop_images_must_be_square():
    with pytest.raises(BadImage, match="8x12 is not square"):
        square(noise(8, 12), 8, "none", "none")


@pytest.mark.parametrize("channels", [1, 3])
def test_shrinking_does_not_alias(channels):
    """Stripes of one pixel are their mean, where a nearest pixel would be black."""
    stripes = np.zeros((64, 64, channels), np.uint8)
    stripes[:, ::2] = 200
    out = square(stripes, 16, "centre", "none")
    assert out.shape == (16, 16, channels)
    # Lanczos rings where the stripes end, at the border.
    assert abs(out.astype(int) - 100).max() <= 10
    assert abs(out[:, 3:-3].astype(int) - 100).max() <= 1


def test_small_images_are_enlarged_or_padded():
    pixels = noise(28, 28, 1)
    assert square(pixels, 32, "none", "none").shape == (32, 32, 1)
    black = square(pixels, 32, "none", "black")
    assert np.array_equal(black[2:30, 2:30], pixels)
    assert not black[:2].any() and not black[:, 30:].any()
    mirror = square(pixels, 32, "none", "mirror")
    assert np.array_equal(mirror[2:30, 2:30], pixels)
    assert np.array_equal(mirror[1, 2:30], pixels[0])
    assert np.array_equal(mirror[0, 2:30], pixels[1])
