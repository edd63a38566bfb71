"""Titles of values; test_page.py has the sections as they are shown."""

from dataclasses import replace

import pytest

from progan_jax.display.run_record import read_run
from progan_jax.display.sections import schedule_section, summary, title_of


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


def test_what_a_plateau_may_end_has_a_limit_and_no_plan(run):
    record = read_run(run)
    open_ended = replace(record, schedule=replace(record.schedule, open_ended=True))
    assert "about 1m 30s left" in summary(record)
    assert "at most 1m 30s left" in summary(open_ended)
    assert "of at most 20" in summary(open_ended)
    assert ">planned<" in schedule_section(record)
    page = schedule_section(open_ended)
    assert ">planned<" not in page and page.count("at most") == 1


def test_a_run_without_fades_shows_none(run):
    record = read_run(run)
    assert "alpha" in summary(record) and "fade" in schedule_section(record)
    schedule = replace(record.schedule, fade_kimg={4: 0, 8: 0, 16: 0})
    without = replace(record, schedule=schedule)
    assert "alpha" not in summary(without) and "fade" not in schedule_section(without)
