"""ImageNet's names: compared with rows of the authors' table that docs name."""

import re

import pytest

from progan_jax.errors import UserError
from progan_jax.inference.classes import find_class
from progan_jax.inference.imagenet import (
    NUM_CLASSES,
    all_names,
    class_number,
    name_synset,
)

# Class numbers as published in several programs' examples.
KNOWN = {0: "tench", 207: "golden retriever", 281: "tabby", 404: "airliner"}
KNOWN |= {817: "sports car", 339: "sorrel", 867: "trailer truck", 999: "toilet tissue"}


def test_a_thousand_names_differ_and_have_the_known_numbers():
    names = all_names()
    assert len(set(names)) == len(names) == NUM_CLASSES
    assert {number: names[number] for number in KNOWN} == KNOWN
    assert not any(re.search(r"[^ -~]|,", name) for name in names)


def test_a_synset_is_named_and_other_texts_are_not():
    assert name_synset("n02123045") == "tabby"
    assert [name_synset(x) for x in ("n00000000", "tabby", "")] == [
        *("n00000000", "tabby", "")
    ]


@pytest.mark.parametrize("wanted", ["tabby", "n02123045", "281", "#281", 281])
def test_a_class_is_found_by_its_name_its_synset_or_its_number(wanted):
    assert find_class("--class", wanted, NUM_CLASSES, all_names()) == 281


def test_an_unknown_name_is_one_line():
    with pytest.raises(
        UserError, match=r"choose from 0 tench, 1 goldfish, .* 970 more"
    ):
        find_class("--class", "unicorn", NUM_CLASSES, all_names())


def test_numbers_are_found_by_names_and_synsets_as_folders_write_them():
    written = ("tabby", "Golden_Retriever", "n02123045", "great white shark")
    assert [class_number(name) for name in written] == [281, 207, 281, 2]
    assert [class_number(name) for name in all_names()] == list(range(NUM_CLASSES))
    assert class_number("281") is class_number("my dog") is None
