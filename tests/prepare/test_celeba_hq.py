import cmath
import itertools
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from progan_jax.errors import UserError
from progan_jax.prepare.celeba_hq import (
    align_face,
    alignment_steps,
    crop_rectangle,
    draw_steps,
    read_landmarks,
)
from progan_jax.prepare.ranking import power_spectrum_score

# Eyes 20 apart, the mouth 30 below them: its length decides, 2 * 1.8 * 30 = 108.
UPRIGHT = np.array([[40, 50], [60, 50], [50, 65], [42, 80], [58, 80]], np.float64)
HEADER = (
    "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y "
    "leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
)
GOOD = "a.jpg 1 2 3 4 5 6 7 8 9 10"


def steps_of(image, landmarks, **options):
    return dict(alignment_steps(image, landmarks, **options))


_plausible = st.tuples(
    st.floats(-100, 100),  # Where the upright face goes, x
    st.floats(-100, 100),  # and y,
    st.floats(0.1, 50),  # how large it gets
    st.floats(-math.pi, math.pi),  # and how it is turned.
)


def _face(centre, size, angle=0.0):
    """Landmarks as UPRIGHT's, `size` times, turned clockwise about their middle."""
    turn = np.array(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    )
    return (UPRIGHT - [50, 65]) * size @ turn.T + centre


def _ramp(width, height):
    """Red rises to the right and green downwards, each over all of 0..255."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, :, 0] = np.rint(255 * (np.arange(width) + 0.5) / width)
    image[:, :, 1] = np.rint(255 * (np.arange(height) + 0.5) / height)[:, None]
    image[:, :, 2] = 80
    return image


def _spots(width, height, points, stddev):
    """A bright spot for each of three points, each in its own channel."""
    y, x = np.mgrid[:height, :width]
    image = [
        np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * stddev**2)) for px, py in points
    ]
    return np.rint(255 * np.stack(image, axis=-1)).astype(np.uint8)


def _find_spots(image):
    """Returns the centroids [3, 2] in pixels from the corner."""
    y, x = np.mgrid[: len(image), : len(image)] + 0.5
    weight = image.astype(np.float64)
    total = weight.sum(axis=(0, 1))
    return (
        np.stack(
            [(weight * x[..., None]).sum((0, 1)), (weight * y[..., None]).sum((0, 1))],
            -1,
        )
        / (total[:, None])
    )


def _photograph(side, seed=0):
    """Colour noise with the 1 / f^2 power of photographs."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(side, 1 / side)] * 2))
    frequency[0, 0] = np.inf
    noise = np.fft.fft2(rng.standard_normal((3, side, side))) / frequency
    image = np.moveaxis(np.fft.ifft2(noise).real, 0, -1)
    return np.uint8(np.clip(np.rint(127.5 + 40 * image / image.std()), 0, 255))


def _blurred(image, stddev):
    return np.asarray(
        Image.fromarray(image).filter(ImageFilter.GaussianBlur(stddev)), np.uint8
    )


def test_upright_long_face_has_an_upright_square_of_its_length():
    quad = crop_rectangle(UPRIGHT)
    # Half a pixel to the middle of the pixels, and 0.1 * 30 below the eyes.
    np.testing.assert_allclose(quad.centre, [50.5, 53.5])
    assert quad.side == pytest.approx(108)
    expected = [[-3.5, -0.5], [-3.5, 107.5], [104.5, 107.5], [104.5, -0.5]]
    np.testing.assert_allclose(quad.corners, expected)


def test_upright_broad_face_has_a_square_of_four_times_the_eyes():
    landmarks = np.array([[30, 50], [70, 50], [50, 60], [40, 70], [60, 70]])
    quad = crop_rectangle(landmarks)
    assert quad.side == pytest.approx(160)  # 3.6 * 20 would be 72.
    np.testing.assert_allclose(quad.corners[0], [50.5 - 80, 52.5 - 80])


def test_nose_does_not_count():
    moved = UPRIGHT.copy()
    moved[2] += [7, -9]
    np.testing.assert_array_equal(
        crop_rectangle(moved).corners, crop_rectangle(UPRIGHT).corners
    )


@given(st.lists(st.floats(0, 1000), min_size=10, max_size=10))
def test_rectangle_is_that_of_the_paper_in_complex_numbers(numbers):
    left, right, _, *mouth = (
        complex(*p) for p in np.reshape(np.round(numbers), (5, 2)).tolist()
    )
    # The paper's own terms: y points up the face, and a quarter turn is i.
    x, y = right - left, (left + right) / 2 - sum(mouth) / 2
    direction = x + 1j * y
    if abs(direction) < 1e-3:
        return
    side = max(4.0 * abs(x), 3.6 * abs(y))
    centre = (left + right) / 2 - 0.1 * y + 0.5 + 0.5j
    turn = direction / abs(direction)
    expected = [
        centre + side / 2 * turn * corner
        for corner in (-1 - 1j, -1 + 1j, 1 + 1j, 1 - 1j)
    ]
    quad = crop_rectangle(np.reshape(np.round(numbers), (5, 2)))
    np.testing.assert_allclose(
        quad.corners, [(c.real, c.imag) for c in expected], atol=1e-7 * (1 + side)
    )
    assert quad.side == pytest.approx(side)


@given(_plausible)
def test_rectangle_follows_a_turn_a_shift_and_a_scale(similarity):
    dx, dy, size, angle = similarity
    factor = cmath.rect(size, angle)

    def change(points):
        numbers = (points[:, 0] + 1j * points[:, 1]) * factor + complex(dx, dy)
        return np.stack([numbers.real, numbers.imag], axis=1)

    # The middle of a pixel is what a similarity maps, not its name.
    changed = crop_rectangle(change(UPRIGHT + 0.5) - 0.5)
    expected = change(crop_rectangle(UPRIGHT).corners)
    np.testing.assert_allclose(changed.corners, expected, rtol=1e-9, atol=1e-6)
    assert changed.side == pytest.approx(108 * size)


@given(_plausible)
def test_mirrored_face_has_the_mirrored_rectangle(similarity):
    dx, dy, size, angle = similarity
    face = _face((dx, dy), size, angle) + np.arange(10).reshape(5, 2)
    swapped = face[[1, 0, 2, 4, 3]]  # Left is right in a mirror.
    mirrored = np.stack([-1 - swapped[:, 0], swapped[:, 1]], axis=1)
    corners = crop_rectangle(face).corners[[3, 2, 1, 0]] * [-1, 1]
    np.testing.assert_allclose(crop_rectangle(mirrored).corners, corners, atol=1e-6)


@pytest.mark.parametrize(
    "landmarks",
    [
        np.zeros((4, 2)),
        np.zeros((5, 3)),
        np.full((5, 2), 7.0),
        np.where(UPRIGHT == 65, np.nan, UPRIGHT),
        # The mouth as far over the eyes as the eyes are apart, and to be crossed.
        np.array([[60, 50], [40, 50], [50, 60], [50, 70], [50, 70]]),
    ],
)
def test_landmarks_without_a_direction_are_refused(landmarks):
    with pytest.raises(ValueError, match="landmarks"):
        crop_rectangle(landmarks)


@pytest.mark.parametrize("angle", [0, 30, 90, 180, -135])
@pytest.mark.parametrize("size", [0.5, 1.7, 4.0])
def test_eyes_and_mouth_land_at_the_same_place(angle, size):
    landmarks = _face((325.3, 318.8), size, math.radians(angle))
    mouth = landmarks[3:].mean(axis=0)
    image = _spots(650, 650, [*landmarks[:2], mouth], stddev=1.5 * size)
    aligned = align_face(image, landmarks, resolution=108, oversample=4)
    # UPRIGHT's square of 108 starts at (-3.5, -0.5), its pixels' middles at 0.5.
    expected = np.array([[40, 50], [60, 50], [50, 80]]) + 0.5 + [3.5, 0.5]
    np.testing.assert_allclose(_find_spots(aligned), expected, atol=0.1)


@pytest.mark.parametrize(
    ("width", "height"), [(43, 55), (55, 43), (178, 218), (1500, 900), (6732, 8984)]
)
@pytest.mark.parametrize("angle", [0, 40])
def test_pixels_come_from_their_places_in_images_of_any_size(width, height, angle):
    size = min(width, height) / 200  # A square of 0.54 of the smaller side.
    landmarks = _face((width / 2, height / 2), size, math.radians(angle))
    aligned = align_face(_ramp(width, height), landmarks, resolution=64)
    assert aligned.shape == (64, 64, 3)
    assert aligned.dtype == np.uint8
    upper_left, lower_left, _, upper_right = crop_rectangle(landmarks).corners
    v, u = np.mgrid[:64, :64][..., None]
    place = (
        upper_left
        + (u + 0.5) / 64 * (upper_right - upper_left)
        + (v + 0.5) / 64 * (lower_left - upper_left)
    )
    expected = 255 * place / [width, height]
    np.testing.assert_allclose(aligned[:, :, :2], expected, atol=2)
    assert (aligned[:, :, 2] == 80).all()


def test_large_squares_are_shrunk_by_an_integer_factor():
    image = _ramp(1000, 800)
    landmarks = _face((500, 400), 5)  # A square of 540.

    def sizes(resolution):
        steps = dict(
            alignment_steps(image, landmarks, resolution=resolution, oversample=2)
        )
        return {name: step.shape[:2] for name, step in steps.items()}

    assert "shrunk" not in sizes(136)  # 540 are 1.99 times 272,
    height, width = sizes(64)["cropped"]
    assert sizes(134)["shrunk"] == (math.ceil(height / 2), math.ceil(width / 2))
    # and 4.2 times 128.
    assert sizes(64)["shrunk"] == (math.ceil(height / 4), math.ceil(width / 4))


def test_fine_stripes_do_not_alias():
    image = np.zeros((1200, 1200, 3), np.uint8)
    image[:, ::2] = 255
    aligned = align_face(image, _face((600, 600), 7), resolution=32)
    np.testing.assert_allclose(aligned, 127.5, atol=2)


@pytest.mark.parametrize("centre", [(0, 100), (199, 100), (100, 0), (100, 199), (5, 8)])
def test_padding_of_one_colour_is_that_colour(centre):
    image = np.full((200, 200, 3), (200, 150, 90), np.uint8)
    aligned = align_face(image, _face(centre, 1.5, 0.3), resolution=64)
    assert (aligned == image[0, 0]).all()


def test_padding_keeps_the_image_and_starts_as_its_mirror():
    image = np.random.default_rng(0).integers(0, 256, (120, 140, 3), dtype=np.uint8)
    landmarks = _face((70, 60), 3)  # A square of 324, all around the image.
    padded = steps_of(image, landmarks, resolution=256, oversample=1)["padded"]
    left, top = np.ceil(-crop_rectangle(landmarks).corners[0]).astype(int)
    np.testing.assert_array_equal(padded[top : top + 120, left : left + 140], image)
    inside = padded[top : top + 120].astype(int)
    np.testing.assert_allclose(inside[:, left - 1], image[:, 1], atol=2)
    np.testing.assert_allclose(inside[:, left - 2], image[:, 2], atol=4)


def test_padding_gets_smoother_and_plainer_outwards():
    image = np.random.default_rng(0).integers(0, 256, (300, 150, 3), dtype=np.uint8)
    image[:, :, 0] //= 2
    landmarks = _face((0, 150), 2)  # A square of 216, its left half outside.
    steps = steps_of(image, landmarks, resolution=128, oversample=1)
    left = steps["padded"].shape[1] - steps["cropped"].shape[1]
    columns = steps["padded"][:, :left][:, ::-1].astype(float)  # From the image on.
    deviation = columns.std(axis=0).mean(axis=-1)
    bands = [deviation[:3].mean(), deviation[8:14].mean(), deviation[20:40].mean()]
    assert bands[0] > 2 * bands[1] > 4 * bands[2]


def test_padding_fades_to_the_median_colour_half_a_side_away():
    image = np.full((300, 150, 3), (200, 180, 160), np.uint8)
    image[130:170] = (40, 50, 60)  # Too high for the blur to reach its middle.
    landmarks = _face((-13.5, 150), 2)  # A square of 216, 121 of it outside.
    steps = steps_of(image, landmarks, resolution=128, oversample=1)
    left = steps["padded"].shape[1] - steps["cropped"].shape[1]
    assert left > 115
    # The square starts at row 18: nothing is cut off or added above.
    row = steps["padded"][150, :left][::-1]
    t = np.minimum(np.arange(1, left + 1) / 108, 1)[:, None]
    expected = (40, 50, 60) + t**2 * (3 - 2 * t) * np.array([160, 130, 100])
    np.testing.assert_allclose(row, expected, atol=2)


def test_image_that_holds_its_square_is_not_padded():
    steps = steps_of(_ramp(300, 300), _face((150, 150), 1), resolution=32)
    assert list(steps) == ["original", "cropped", "sampled", "aligned"]
    assert steps["sampled"].shape == (128, 128, 3)


def test_square_next_to_the_image_is_refused():
    with pytest.raises(ValueError, match="misses the image"):
        align_face(_ramp(100, 100), _face((-300, 50), 1), resolution=32)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((50, 50), "uint8"),
        ((50, 50, 1), "uint8"),
        ((50, 50, 4), "uint8"),
        ((50, 50, 3), "float32"),
    ],
)
def test_images_other_than_8_bit_colour_are_refused(shape, dtype):
    with pytest.raises(ValueError, match=re.escape(f"{dtype} {list(shape)} must be")):
        align_face(np.zeros(shape, dtype), UPRIGHT, resolution=32)


def test_learned_steps_get_the_image_and_the_part_around_the_square():
    image, landmarks = _ramp(400, 300), _face((200, 150), 1, 0.5)
    calls = []

    def clean(pixels):
        calls.append(("clean", pixels.shape))
        return 255 - pixels

    def enlarge(pixels):
        calls.append(("enlarge", pixels.shape))
        return pixels.repeat(3, axis=0).repeat(3, axis=1)

    plain = steps_of(image, landmarks, resolution=64)
    steps = dict(
        alignment_steps(image, landmarks, resolution=64, clean=clean, enlarge=enlarge)
    )
    cropped = plain["cropped"].shape
    assert calls == [("clean", (300, 400, 3)), ("enlarge", cropped)]
    # Around the turned square of 108, a tenth of a side is kept.
    extent = 108 * (math.cos(0.5) + math.sin(0.5) + 0.2)
    np.testing.assert_allclose(cropped[:2], extent, atol=2)
    names = ["original", "cleaned", "cropped", "enlarged", "sampled", "aligned"]
    assert list(steps) == names
    # Neither moves the face.
    np.testing.assert_allclose(steps["aligned"], 255 - plain["aligned"], atol=2)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("clean", lambda pixels: pixels[1:]),
        ("clean", lambda pixels: pixels / 255),
        ("enlarge", lambda pixels: pixels.repeat(2, axis=0)),
        ("enlarge", lambda pixels: pixels[::2, ::2]),
        ("enlarge", lambda pixels: pixels[:0, :0]),
        ("enlarge", lambda pixels: pixels[:, :, :1]),
    ],
)
def test_learned_steps_that_break_the_contract_are_refused(name, function):
    with pytest.raises(ValueError, match=f"{name} made"):
        align_face(_ramp(99, 99), UPRIGHT, resolution=32, **{name: function})


def test_last_step_is_the_aligned_face():
    image, landmarks = _photograph(128), _face((20, 64), 1, 0.2)
    steps = steps_of(image, landmarks, resolution=64)
    assert list(steps) == ["original", "cropped", "padded", "sampled", "aligned"]
    assert steps["original"] is image
    np.testing.assert_array_equal(
        steps["aligned"], align_face(image, landmarks, resolution=64)
    )


def test_drawing_marks_landmarks_and_rectangle_on_the_first_image_only():
    image, landmarks = np.full((150, 200, 3), 90, np.uint8), _face((100, 75), 1)
    steps = steps_of(image, landmarks, resolution=64)
    picture = draw_steps(steps, landmarks, panel=400)
    assert picture.dtype == np.uint8
    assert picture.shape == (420, len(steps) * 408 - 8, 3)
    red = (picture == [255, 0, 0]).all(axis=-1)
    assert not red[:, 400:].any()
    first = red[20:]  # Scaled by 2.
    for x, y in np.rint((landmarks + 0.5) * 2).astype(int):
        assert first[y, x]
    # The upper and the left side, from (46.5, 9.5) and 108 long.
    assert first[18:21, 100:300].any(axis=0).all()
    assert first[30:230, 92:95].any(axis=1).all()
    assert first.mean() < 0.05


def test_drawing_shows_a_rectangle_that_leaves_the_image():
    image = np.full((100, 100, 3), 90, np.uint8)
    steps = {"original": image}
    # The square goes from (-53.5, -15.5) to (54.5, 92.5), the image to (100, 100).
    picture = draw_steps(steps, _face((0, 50), 1), panel=307)[20:]  # Scaled by 2.
    red = (picture == [255, 0, 0]).all(axis=-1)
    assert red[:216, :2].any(axis=1).all()
    assert red[:2, :216].any(axis=0).all()
    assert (picture[10, 50] == 255).all()  # Outside the image
    assert (picture[200, 50] == 255).all()
    assert (picture[34:228, 220:304] == 90).all()  # and inside.


def _write(path, lines):
    path.write_text("\n".join(lines) + "\n")
    return path


def test_landmarks_are_read_by_name(tmp_path):
    rows = [
        "000001.jpg 165  184  244  176  196  249  194  271  266  260",
        "000002.jpg 140  204  220  204  168  254  146  289  226  289",
    ]
    landmarks = read_landmarks(_write(tmp_path / "list.txt", ["2", HEADER, *rows]))
    assert list(landmarks) == ["000001.jpg", "000002.jpg"]
    expected = [[165, 184], [244, 176], [196, 249], [194, 271], [266, 260]]
    np.testing.assert_array_equal(landmarks["000001.jpg"], expected)
    assert landmarks["000002.jpg"].dtype == np.float64


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], ", line 2: the columns must be"),
        (["many", HEADER, GOOD], ": 'many' images are announced and 1 listed"),
        (["2", HEADER, GOOD], ": '2' images are announced and 1 listed"),
        (["2", HEADER, GOOD, GOOD], ": '2' images are announced and 1 listed"),
        (["1", "lefteye_x lefteye_y", GOOD], ", line 2: "),
        (["2", HEADER, GOOD, "b.jpg 1 2 3 4 5 6 7 8 9"], ", line 4: "),
        (["2", HEADER, GOOD, "b.jpg 1 2 3 4 5 6 7 8 9 10 11"], ", line 4: "),
        (["2", HEADER, "b.jpg 1 2 3 4 5 x 7 8 9 10", GOOD], ", line 3: "),
        (["2", HEADER, "b.jpg 1 2 3 4 5 nan 7 8 9 10", GOOD], ", line 3: "),
        (["2", HEADER, GOOD, ""], ", line 4: "),
    ],
)
def test_broken_landmark_files_are_refused_by_file_and_line(tmp_path, lines, words):
    path = _write(tmp_path / "list.txt", lines)
    with pytest.raises(UserError, match=rf"list\.txt{words}"):
        read_landmarks(path)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_unreadable_landmark_files_are_refused(tmp_path, content):
    path = tmp_path / "list.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"list\.txt cannot be read: "):
        read_landmarks(path)


@pytest.mark.parametrize("seed", [0, 1])
def test_blur_lowers_the_score_step_by_step(seed):
    image = _photograph(256, seed)
    scores = [
        power_spectrum_score(_blurred(image, stddev) if stddev else image)
        for stddev in (0, 0.5, 0.7, 1, 1.5, 2, 3)
    ]
    assert all(b < a - 0.3 for a, b in itertools.pairwise(scores))
    # Then nothing is left to lose.
    rest = [power_spectrum_score(_blurred(image, stddev)) for stddev in (6, 12, 24)]
    assert max(rest) <= scores[-1]


def test_spectrum_of_photographs_scores_minus_one():
    # Each ratio is 1 up to the sampling of its cell: log2(1 / (1 + 1)).
    assert power_spectrum_score(_photograph(512)) == pytest.approx(-1, abs=0.1)


def test_flat_image_scores_least():
    flat = np.full((64, 64, 3), 130, np.uint8)
    assert power_spectrum_score(flat) == -20
    assert power_spectrum_score(_blurred(_photograph(64), 30)) == pytest.approx(
        -20, abs=2
    )


def test_score_does_not_depend_on_contrast_or_brightness():
    image = _photograph(256)
    fainter = np.uint8(np.rint(image * 0.5 + 100))
    assert power_spectrum_score(fainter) == pytest.approx(
        power_spectrum_score(image), abs=0.05
    )


def test_score_of_a_turned_or_mirrored_image_is_the_same():
    image = _photograph(128)
    expected = power_spectrum_score(image)
    for turned in (np.rot90(image), image[:, ::-1], image[::-1]):
        assert power_spectrum_score(turned) == pytest.approx(expected, abs=0.05)


def test_noise_gains_little_and_pattern_loses():
    image = _photograph(256)
    noise = np.random.default_rng(0).normal(0, 12, image.shape)
    stripes = 40 * np.sin(np.arange(256) * 2 * np.pi * 90 / 256)[:, None, None]
    clean, noisy, striped = (
        power_spectrum_score(np.uint8(np.clip(image + extra, 0, 255)))
        for extra in (0, noise, stripes)
    )
    assert clean < noisy < 0
    assert striped < clean - 0.3


def test_enlarged_images_score_less_than_sharp_ones():
    sharp = _photograph(256)
    half = Image.fromarray(sharp).resize((128, 128), Image.Resampling.LANCZOS)
    soft = half.resize((256, 256), Image.Resampling.BICUBIC)
    assert power_spectrum_score(np.asarray(soft)) < power_spectrum_score(sharp) - 1
