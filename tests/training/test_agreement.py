"""Processes that were asked for different runs, with process 0's word made up."""

import pytest

from progan_jax.data.sources import load_digits
from progan_jax.errors import UserError
from progan_jax.training import agreement
from progan_jax.training.agreement import (
    agree_on_config,
    agree_on_files,
    agree_on_set,
)


@pytest.fixture
def says(monkeypatch):
    """Sets what process 0 gave."""

    def say(change):
        monkeypatch.setattr(agreement, "share_json", change)

    return say


def test_the_field_that_differs_is_named_with_both_values(tiny_config, says):
    says(lambda mine: mine | {"optim.beta2": 0.9})
    with pytest.raises(UserError) as told:
        agree_on_config(tiny_config)
    assert str(told.value).startswith(
        "config.optim.beta2 = 0.99 on process 0 and 0.9 on process 0; start the same"
    )


def test_where_images_lie_is_each_processs_own_affair(tiny_config, says):
    theirs = {}
    says(lambda mine: theirs.setdefault("fields", mine))
    agree_on_config(tiny_config)
    tiny_config.data.data_dir = "/another"
    says(lambda mine: theirs["fields"])
    agree_on_config(tiny_config)


def test_other_images_are_reported(says):
    pyramid = load_digits(8)
    agree_on_set(pyramid)
    says(lambda mine: "0" * len(mine))
    with pytest.raises(UserError, match="process 0 reads other images than process 0"):
        agree_on_set(pyramid)


def test_other_weights_of_a_frozen_network_are_reported(says):
    agree_on_files({})
    files = {"lite0": {"file": "a.pth", "sha256": "ab"}}
    says(lambda mine: {"lite0": "ab"})
    agree_on_files(files)  # Whatever the file's name is.
    says(lambda mine: {"lite0": "cd"})
    with pytest.raises(UserError) as told:
        agree_on_files(files)
    assert str(told.value) == (
        "the weights of lite0 have SHA-256 ab on process 0 and cd on process 0; give "
        "all hosts the same file"
    )
