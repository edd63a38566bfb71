"""Titles of values; test_page.py has the sections as they are shown."""

import pytest

from progan_jax.display.sections import title_of


@pytest.mark.parametrize(
    ("value", "frozen", "title"),
    [
        ("fid", (), "FID"),
        ("fid", ("lite0",), "FID (shares pretraining)"),
        ("fid_psi0.7", ("lite0",), "FID, psi 0.7 (shares pretraining)"),
        ("fd_dinov2", ("lite0",), "Fréchet distance of DINOv2's features"),
        ("swd_average", ("lite0",), "SWD average"),
        ("eqt_int", ("lite0",), "EQ-T in dB"),
    ],
)
def test_titles_say_what_shares_the_discriminators_pretraining(value, frozen, title):
    assert title_of(value, frozen) == title
