"""What users give: settings, layers and w."""

from types import SimpleNamespace

import numpy as np
import pytest

from progan_jax.errors import UserError
from progan_jax.inference.styles import (
    Style,
    layer_ranges,
    read_layers,
    read_style,
    read_w,
    show_layers,
)
from progan_jax.models.stylegan.networks import Generator
from progan_jax.models.stylegan.options import Options


def network(layers=18, cutoff=8, noise="random"):
    options = SimpleNamespace(truncation_psi=0.7, truncation_cutoff=cutoff, w_size=3)
    return SimpleNamespace(num_layers=layers, options=options, noise_mode=noise)


def test_settings_that_are_not_given_are_those_of_the_options():
    read = read_style(network(), "StyleGAN", Style())
    assert read == (0.7, 8, "random")
    assert str(read) == "psi 0.7 on 8 layers, random noise"
    assert read_style(network(6), "StyleGAN", Style()) == (0.7, 6, "random")
    given = Style(np.float32(-1), np.int64(0), "none")
    assert read_style(network(), "StyleGAN", given) == given
    assert read_style(SimpleNamespace(), "Other GAN", Style()) == Style()


def test_a_generator_without_noise_takes_none():
    silent = network(noise="none")
    assert read_style(silent, "StyleGAN-XL", Style()).noise == "none"
    with pytest.raises(UserError) as error:
        read_style(silent, "StyleGAN-XL", Style(noise="random"), "--")
    assert str(error.value) == (
        "--noise=random is for generators with noise, and a StyleGAN-XL has none; "
        "leave it out"
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"truncation_psi": psi}, f"--truncation_psi={psi} must be a number in [-2, 2]")
        for psi in ("0.7", "much", float("nan"), float("inf"), 2.001, -3, [1], True)
    ]
    + [
        ({"truncation_cutoff": n}, f"--truncation_cutoff={n} must be a whole number fr")
        for n in (19, -1, 1.5, "8")
    ]
    + [({"noise": "loud"}, "--noise=loud must be one of random, fixed, none; choose")],
)
def test_settings_that_are_out_of_range_are_refused_in_a_line(given, message):
    with pytest.raises(UserError) as refused:
        read_style(network(), "StyleGAN", Style(**given), "--")
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "given", [{"truncation_psi": 1}, {"truncation_cutoff": 8}, {"noise": "none"}]
)
def test_a_network_without_styles_takes_no_setting(given):
    ((field, value),) = given.items()
    rule = f"{field}={value} is for style-based generators, and this one is a Progr"
    with pytest.raises(UserError, match=rule):
        read_style(SimpleNamespace(), "Progressive GAN", Style(**given))


@pytest.mark.parametrize(
    ("resolution", "ends"),
    [
        # The paper's figure, at 1024x1024.
        *[(1024, (4, 8, 18)), (256, (4, 8, 14)), (128, (4, 8, 12))],
        *[(64, (2, 6, 10)), (32, (2, 4, 8)), (16, (2, 4, 6)), (8, (2, 2, 4))],
        (4, (2, 2, 2)),
    ],
)
def test_ranges_of_layers_follow_the_paper_and_divide_fewer_layers(resolution, ends):
    layers = 2 * int(np.log2(resolution)) - 2
    ranges = layer_ranges(layers)
    assert tuple(r.stop for r in ranges.values()) == ends
    assert [n for r in ranges.values() for n in r] == list(range(layers))
    sides = Generator(resolution, Options(resolution=resolution)).layer_sides
    assert (sides[0], sides[-1], len(sides)) == (4, resolution, layers)


def test_one_style_for_all_layers_is_a_coarse_one():
    assert [list(layers) for layers in layer_ranges(1).values()] == [[0], [], []]


@pytest.mark.parametrize(
    ("given", "numbers"),
    [
        *[("coarse", [0, 1, 2, 3]), ("fine", list(range(8, 18))), ("4-6", [4, 5, 6])],
        *[("17", [17]), (range(2), [0, 1]), ([3, 1, 3], [1, 3]), (np.array([5]), [5])],
        *[(3, [3]), (np.int64(17), [17])],
    ],
)
def test_layers_are_named_or_numbered(given, numbers):
    assert read_layers("layers", given, 18) == numbers


@pytest.mark.parametrize(
    "given",
    [
        *("6", "4-6", "-1", "5-4", "low", "", "0,1"),
        *([6], [-1], [0.5], [], [True], [[1]], 6, -1, 0.5, True, None),
    ],
)
def test_layers_out_of_range_are_refused_with_those_that_there_are(given):
    with pytest.raises(UserError) as refused:
        read_layers("layers", given, 6)
    assert str(refused.value) == (
        f"layers={given}: layers are numbered from 0 to 5 in this generator; give some,"
        " as coarse (0-1), middle (2-3), fine (4-5), or first-last"
    )


def test_layers_are_shown_as_ranges():
    assert show_layers([0, 1, 2, 5, 7, 8]) == "0-2, 5, 7-8"


def test_w_is_repeated_for_all_layers_unless_each_has_its_own():
    w = np.arange(6).reshape(2, 3)
    repeated = read_w(network(4), w)
    assert repeated.dtype == np.float32
    np.testing.assert_array_equal(repeated, np.stack([w] * 4, axis=1))
    own = np.random.default_rng(0).random((2, 4, 3), np.float32)
    np.testing.assert_array_equal(read_w(network(4), own), own)


@pytest.mark.parametrize(
    ("w", "message"),
    [
        (
            np.zeros((2, 4)),
            r"w has the shape [2, 4] and must have [N, 3] or [N, 18, 3]",
        ),
        (np.zeros((2, 17, 3)), "w has the shape [2, 17, 3] and must have [N, 3] or"),
        (np.zeros(3), "w has the shape [3] and must have [N, 3] or [N, 18, 3]"),
        (np.zeros((0, 3)), "w has the shape [0, 3] and must have [N, 3] or"),
        ([[np.nan] * 3], "w has numbers that are not finite"),
        ("text", "w is no array of numbers"),
    ],
)
def test_w_of_another_shape_is_refused_in_a_line(w, message):
    with pytest.raises(UserError) as refused:
        read_w(network(), w)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)
