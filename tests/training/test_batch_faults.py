"""Batches that cannot be split over devices or into parts are refused in one line."""

import pytest

from progan_jax.errors import UserError
from progan_jax.training.validation import validate


def faults(config, num_devices=1):
    with pytest.raises(UserError) as error:
        validate(config, num_devices)
    return str(error.value).split("\n")


def test_batches_are_divided_over_the_devices(tiny_config):
    tiny_config.schedule.batch_size = "12"
    tiny_config.model.mbstd_group_size = 0
    (line,) = faults(tiny_config, num_devices=8)
    assert line == (
        "config.schedule.batch_size = '12': each of 8 device(s) must get equally many "
        "images, which rules out 12 (at 4, 8, 16); choose 8 or 16 for 12, or set "
        "config.runtime.num_devices to 6, the largest number of devices that keeps "
        "all groups of the run complete"
    )


def test_all_batches_that_do_not_fit_are_in_one_line(tiny_config):
    tiny_config.schedule.batch_size = "4, 4:20, 8:16"
    (line,) = faults(tiny_config, num_devices=8)
    # Nothing is below 8 for 4, one image for each device.
    assert line == (
        "config.schedule.batch_size = '4, 4:20, 8:16': each of 8 device(s) must get "
        "equally many images, a multiple of config.model.mbstd_group_size = 4 or "
        "fewer, which rules out 20 (at 4), 4 (at 16); choose 16 or 24 for 20, 8 for "
        "4, or set config.runtime.num_devices to 1, the largest number of devices "
        "that keeps all groups of the run complete"
    )


def test_all_microbatches_that_do_not_fit_are_in_one_line(tiny_config):
    tiny_config.schedule.batch_size = "16, 16:8"
    tiny_config.schedule.microbatch = "3"
    (line,) = faults(tiny_config)
    assert line == (
        "config.schedule.microbatch = '3' must divide the images of a device into "
        "complete groups of the minibatch statistic; choose 4, 8, 0 (all) for 3 (at 4, "
        "8: 16 images, groups of 4); 4, 0 (all) for 3 (at 16: 8 images, groups of 4)"
    )


def test_microbatches_keep_the_groups_of_the_statistic_complete(tiny_config):
    tiny_config.schedule.batch_size = "24"
    tiny_config.schedule.microbatch = "0, 16:6"
    with pytest.raises(UserError) as caught:
        validate(tiny_config, num_devices=1)
    assert str(caught.value) == (
        "config.schedule.microbatch = '0, 16:6' must divide the images of a device "
        "into complete groups of the minibatch statistic; choose 4, 8, 12, 0 (all) for "
        "6 (at 16: 24 images, groups of 4)"
    )
    for legal in ("4", "8", "12", "24", "100"):
        tiny_config.schedule.microbatch = legal
        validate(tiny_config, num_devices=1)
    tiny_config.model.mbstd_group_size = 0  # The whole batch is one group.
    tiny_config.schedule.microbatch = "12"
    with pytest.raises(UserError, match=r"choose 0 \(all\) for 12 .*groups of 24"):
        validate(tiny_config, num_devices=1)


def test_a_devices_batch_is_complete_groups_or_smaller_than_one(tiny_config):
    tiny_config.schedule.batch_size = "8, 16:6"
    (line,) = faults(tiny_config)
    assert line == (
        "config.schedule.batch_size = '8, 16:6': each of 1 device(s) must get equally "
        "many images, a multiple of config.model.mbstd_group_size = 4 or fewer, which "
        "rules out 6 (at 16); choose 4 or 8 for 6"
    )
    tiny_config.schedule.batch_size = "8, 16:3"
    validate(tiny_config, 1)


def test_nearest_batches_are_valid_for_devices_and_groups(tiny_config):
    tiny_config.schedule.batch_size = "40"
    lines = faults(tiny_config, num_devices=8)
    assert "choose 32 or 64 for 40, or" in lines[0]
    for batch in ("32", "64"):
        tiny_config.schedule.batch_size = batch
        validate(tiny_config, 8)


@pytest.mark.parametrize(
    ("batches", "group", "devices", "most"),
    [
        ("64, 16:24", 4, 32, 2),  # Six groups and sixteen: both by two, not by four.
        ("64, 16:20", 4, 16, 1),
        ("32, 16:4", 4, 8, 1),  # More devices than images.
        ("48", 0, 32, 24),
        ("64, 16:24", 0, 32, 8),
    ],
)
def test_a_refusal_names_the_most_devices_with_complete_groups(
    tiny_config, batches, group, devices, most
):
    tiny_config.schedule.batch_size = batches
    tiny_config.model.mbstd_group_size = group
    lines = faults(tiny_config, devices)
    assert all(
        line.endswith(
            f"or set config.runtime.num_devices to {most}, the largest number of "
            "devices that keeps all groups of the run complete"
        )
        for line in lines
    )
    validate(tiny_config, most)


def test_a_microbatch_of_more_than_half_a_batch_is_refused(tiny_config):
    """Taking it for the whole would leave the peak as it was without a word."""
    tiny_config.schedule.batch_size = "12"
    tiny_config.model.mbstd_group_size = 1
    tiny_config.schedule.microbatch = "8"
    with pytest.raises(UserError, match=r"for 8 \(at 4.*: 12 images"):
        validate(tiny_config, num_devices=1)


def test_without_the_statistic_any_batch_will_do(tiny_config):
    tiny_config.schedule.batch_size = "6"
    tiny_config.model.minibatch_stddev = False
    validate(tiny_config, 1)


def test_batches_of_unused_resolutions_are_not_looked_at(tiny_config):
    tiny_config.schedule.batch_size = "8, 1024:3, 4:5"
    tiny_config.schedule.start_resolution = 8
    validate(tiny_config, 1)
