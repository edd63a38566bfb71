import pytest

from progan_jax.errors import UserError
from progan_jax.metrics.protocols import (
    METRICS,
    Counts,
    check_images,
    count_images,
    is_higher_better,
)


def test_rows_name_extractors_directions_and_what_the_names_hold():
    for name, metric in METRICS.items():
        kinds = ("", "inception", "random", "classifier", "attributes", "lpips")
        kinds += ("vgg16", "dinov2")
        assert metric.extractor in kinds, name
        assert set(metric.values.values()) <= {"higher", "lower"}, name
        for pattern in metric.values:
            assert pattern.format(metric=name, suffix="_768").isidentifier()


@pytest.mark.parametrize(
    ("value", "higher"),
    [
        ("inception_score_clean_mean", True),
        ("precision_768", True),
        ("recall", True),
        ("modes_found", True),
        ("classifier_score_mean", True),
        ("modes_kl", False),
        ("fid_768_clean", False),
        ("kid_mean", False),
        ("swd_16", False),
        ("precision_psi0.7", True),
        ("ppl_wfull", False),
        ("ls_w", False),
        ("fd_dinov2", False),
        ("precision_vgg16", True),
        ("eqt_int", True),
        ("eqt_frac", True),
    ],
)
def test_more_is_better_of_scores_shares_and_modes_alone(value, higher):
    assert is_higher_better(value) == higher


def test_numbers_are_the_published_ones_unless_given():
    assert count_images("swd", 0, 10**6).fakes == 16384
    assert count_images("ms_ssim", 0, 10**6).fakes == 20000
    assert count_images("modes", 0, 10**6).fakes == 10 * 25_600
    for metric in (
        *("fid", "sfid", "rfid", "kid", "is", "pr", "classifier"),
        *("fd_dinov2", "pr_vgg16", "eqt_int", "eqt_frac"),
    ):
        assert count_images(metric, 0, 10**6).fakes == 50_000
        assert count_images(metric, 70, 10**6).fakes == 70
    assert count_images("ls", 0, 10**6).fakes == 200_000


@pytest.mark.parametrize("metric", ["ppl_zfull", "ppl_wfull", "ppl_zend", "ppl_wend"])
def test_of_latents_there_are_no_real_images(metric):
    assert count_images(metric, 0, 10**6) == Counts(100_000, 0, 0, 0)


def test_vgg16_compares_with_up_to_four_times_as_many_real_images_as_published():
    assert count_images("pr_vgg16", 0, 10**6) == Counts(
        50_000, 200_000, 50_000, 200_000
    )
    assert count_images("pr_vgg16", 0, 120_000) == Counts(50_000, 120_000, 0, 120_000)
    assert count_images("pr_vgg16", 100, 10**6) == Counts(100, 100, 100, 100)


def test_the_floor_is_of_other_real_images_than_those_compared_with():
    assert count_images("fid", 100, 200) == Counts(100, 100, 100, 100)
    assert count_images("swd", 100, 199).floor == 0


def test_no_real_image_is_taken_twice():
    assert count_images("fid", 0, 30_000) == Counts(50_000, 30_000, 0, 30_000)


def test_what_is_measured_alone_takes_the_first_real_images_for_its_row():
    assert count_images("is", 100, 100) == Counts(100, 0, 100, 0)
    assert count_images("is", 100, 90).floor == 0


@pytest.mark.parametrize(
    ("metric", "num_images", "there", "resolution", "message"),
    [
        (
            "swd",
            0,
            1797,
            32,
            "= 0 .the published 16,384.: swd needs 16,384 real images",
        ),
        ("swd", 8, 99, 8, "swd needs images of 16x16 or more, .* leave swd out"),
        ("ms_ssim", 8, 99, 8, "ms_ssim needs images of 16x16 or more"),
        (
            "ms_ssim",
            65,
            99,
            32,
            "= 65: ms_ssim needs at least 2, a multiple of 2",
        ),
        ("is", 64, 99, 32, "num_images = 64: is needs at least 20, a multiple of 10;"),
        ("is", 10, 99, 32, "num_images = 10: is needs at least 20, a multiple of 10;"),
        ("kid", 999, 5000, 32, "num_images = 999: kid needs at least 1000; change it"),
        (
            "kid",
            2000,
            900,
            32,
            "kid needs 1,000 real images or more, and noise has 900;",
        ),
        ("pr", 3, 99, 32, "num_images = 3: pr needs at least 4; change it"),
        ("fid", 1, 99, 32, "num_images = 1: fid needs at least 2; change it"),
    ],
)
def test_images_that_do_not_serve_are_refused_in_one_line(
    metric, num_images, there, resolution, message
):
    with pytest.raises(UserError, match=message):
        check_images(metric, num_images, there, resolution, "noise")


def test_images_that_serve_are_not_refused():
    check_images("swd", 99, 99, 16, "noise")
    check_images("kid", 1000, 1000, 4, "noise")
    check_images("is", 50, 5, 4, "noise")


def test_path_lengths_have_the_papers_step_and_pairs():
    """Karras et al. 2019, section 4.1: 100,000 pairs, a step of 1e-4."""
    lengths = [METRICS[m] for m in METRICS if m.startswith("ppl_")]
    assert [row.num_images for row in lengths] == [100_000] * 4
    assert [row.constants for row in lengths] == [{"epsilon": 1e-4}] * 4
