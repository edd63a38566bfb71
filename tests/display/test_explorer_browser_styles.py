"""The page of a StyleGAN in a real browser: truncation, noise and mixes."""

import numpy as np
import pytest

from progan_jax.images import tile
from progan_jax.inference.generator import to_uint8
from progan_jax.inference.sampling import seeded_latents
from tests.browser import DRIVER, chromium, show_in, violations
from tests.explorer_page import (
    field,
    open_tab,
    picture,
    press,
    served,
    shown,
    visible,
    wait_for,
)
from tests.styled import styled, write_styled

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(DRIVER is None, reason="chromedriver is not installed"),
]
TABS = ("Sample", "Interpolate", "Edit", "Mix")
DEFAULT = "psi 0.7 on 4 layers, random noise"


@pytest.fixture
def page(tmp_path):
    snapshot = write_styled(tmp_path / "it", "fused")
    profile, downloads = tmp_path / "profile", tmp_path / "downloads"
    with (
        served(snapshot, "--class=2") as address,
        chromium(profile, downloads) as driver,
    ):
        driver.get(address)
        wait_for(lambda: shown(driver))
        yield driver


def tick(page, name):
    """Clicks a box or a choice by its label, as who cannot see it finds it."""
    (box,) = (e for e in visible(page, "input") if e.accessible_name == name)
    box.click()


def close(pixels, images, columns=1):
    expected = tile(to_uint8(images), columns).astype(int)
    np.testing.assert_allclose(pixels, expected, atol=1)


def test_samples_follow_psi_the_layers_and_the_noise(page):
    g = styled("fused")
    close(
        picture(page, f"16 images of seed 0, class 2, {DEFAULT}"), g.sample(16, 0, 2), 4
    )
    field(page, "range slider for Truncation psi").send_keys("\ue011")  # Home.
    caption = "16 images of seed 0, class 2, psi -2 on 4 layers, random noise"
    picture(page, caption)
    field(page, "range slider for Truncated layers").send_keys("\ue010")  # End.
    picture(page, caption.replace("4 layers", "6 layers"))
    tick(page, "fixed")
    after = picture(page, caption.replace("4 layers, random", "6 layers, fixed"))
    style = {"truncation_psi": -2, "truncation_cutoff": 6, "noise": "fixed"}
    close(after, g.sample(16, 0, 2, **style), 4)


def test_the_layers_that_are_ticked_are_those_of_seed_b(page):
    open_tab(page, "Mix")
    tick(page, "fixed")
    caption = f"Seed 0, seed 0 with layers 0-1 of seed 1, seed 1, class 2, {DEFAULT}"
    caption = caption.replace("random", "fixed")
    g, z = styled("fused"), [seeded_latents(seed, 1, 16) for seed in (0, 1)]
    for layers, name in (([0, 1], "0-1"), ([0, 1, 3], "0-1, 3"), ([4, 5], "4-5")):
        if name == "0-1, 3":
            tick(page, "3 (8x8)")
        elif name == "4-5":
            press(page, "Fine")
        strip = picture(page, caption.replace("0-1", name))
        ends = [g(one, 2, noise="fixed") for one in z]
        mixed = g.mix(*z, layers, 2, noise="fixed")
        close(strip, np.concatenate([ends[0], mixed, ends[1]]), 3)


def test_a_direction_moves_w_with_its_settings(page):
    open_tab(page, "Edit")
    before = picture(page, f"Seed 0, class 2, {DEFAULT}, as it is")
    close(before, styled("fused").sample(1, 0, 2))
    field(page, "range slider for Direction 1").send_keys("\ue010")
    moved = picture(page, f"Seed 0, class 2, {DEFAULT}, direction 1 by +5")
    assert np.abs(moved - before).max() > 8
    tick(page, "none")
    picture(page, "Seed 0, class 2, psi 0.7 on 4 layers, no noise, direction 1 by +5")


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_axe_finds_nothing_against_any_tab_and_a_phone_shows_all(page, mode):
    for width in (1280, 390):
        show_in(page, width, mode)
        page.refresh()
        wait_for(lambda: shown(page))
        for name in TABS:
            open_tab(page, name)
            wait_for(lambda: shown(page))
            assert violations(page) == [], (width, name)
            if width == 390:
                script = "return document.documentElement.scrollWidth"
                assert page.execute_script(script) == width
