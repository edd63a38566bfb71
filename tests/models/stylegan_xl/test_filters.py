"""The layers' filters, against the authors' and the definition of a filter."""

import numpy as np
import pytest

from progan_jax.models.stylegan_xl.design import design_network
from progan_jax.models.stylegan_xl.filters import lowpass, radial_lowpass
from tests.stylegan_xl_golden import G_OPTIONS, below, golden


def filters(layer):
    """Returns a layer's filters as float32, by the authors' names."""
    source, target = layer.source, layer.target
    down = radial_lowpass if layer.has_radial_filter else lowpass
    return {
        "up_filter": lowpass(
            layer.up_taps, source.cutoff, source.half_width, layer.rate
        ),
        "down_filter": down(
            layer.down_taps, target.cutoff, target.half_width, layer.rate
        ),
    }


@pytest.mark.parametrize("case", G_OPTIONS)
def test_filters_are_the_authors(case):
    theirs = below("stem/G") if case == "superres" else {}
    theirs |= below(f"{case}/G")
    for layer in design_network(G_OPTIONS[case]).layers[:-1]:
        for name, ours in filters(layer).items():
            expected = theirs[f"synthesis.{layer.name}.{name}"]
            assert ours.shape == expected.shape
            # To the last digit of float32, at the scale of the largest tap.
            largest = np.abs(expected).max()
            np.testing.assert_allclose(ours, expected, rtol=0, atol=6e-8 * largest)


@pytest.mark.parametrize("case", G_OPTIONS)
def test_the_last_layer_has_no_filters(case):
    *_, last = design_network(G_OPTIONS[case]).layers
    for taps in filters(last).values():
        np.testing.assert_array_equal(taps, [1])
    assert not [k for k in below(f"{case}/G") if f"{last.name}.up_filter" in k]
    assert f"{case}/G/synthesis.{last.name}.magnitude_ema" in golden()


def test_filters_keep_constants_and_halve_the_cutoff():
    taps = lowpass(96, cutoff=4.0, half_width=1.0, rate=32.0)
    assert taps.sum() == pytest.approx(1)
    wave = np.exp(-2j * np.pi * 4.0 / 32.0 * np.arange(96))
    assert abs(taps @ wave) == pytest.approx(0.5, abs=0.01)


def test_a_radial_filter_treats_all_directions_alike():
    kernel = radial_lowpass(48, cutoff=4.0, half_width=2.0, rate=32.0)
    places = (np.arange(48) - 23.5) / 32.0
    for cycles, expected in ((1.0, 1.0), (4.0, 0.5), (8.0, 0.0)):
        for angle in np.linspace(0, np.pi, 9):
            x, y = cycles * np.cos(angle), cycles * np.sin(angle)
            rows, columns = (np.exp(2j * np.pi * f * places) for f in (y, x))
            assert abs(rows @ kernel @ columns) == pytest.approx(expected, abs=0.05)
