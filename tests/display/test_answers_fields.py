"""What may be typed."""

import pytest

from progan_jax.display.answers import read_class, read_seed
from progan_jax.errors import UserError


@pytest.mark.parametrize(("text", "seed"), [("0", 0), (" 7 ", 7), ("4294967295", -1)])
def test_seeds_are_whole_numbers_below_two_to_the_32(text, seed):
    assert read_seed("Seed", text) == seed % 2**32


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("abc", "Seed A is 'abc' and must be a whole number in [0, 2**32); change it"),
        ("", "Seed A is nothing and must be a whole number in [0, 2**32); change it"),
        ("-1", "Seed A is '-1' and must be a whole"),
        ("1.5", "Seed A is '1.5' and must be a whole"),
        ("1e3", "Seed A is '1e3' and must be a whole"),
        ("٣", "Seed A is '٣' and must be a whole"),
        ("4294967296", "Seed A=4294967296 must lie in [0, 2**32); change it"),
        ("9" * 5000, f"Seed A is '{'9' * 40}' and must be"),
    ],
)
def test_other_seeds_are_mistakes_in_one_line(text, message):
    with pytest.raises(UserError) as error:
        read_seed("Seed A", text)
    assert str(error.value).startswith(message)


def test_classes_are_those_that_there_are():
    assert read_class("Class", "2", 3, optional=False) == 2
    assert read_class("Class", "", 3, optional=True) is None
    assert read_class("Class", "", 0, optional=False) is None
    assert read_class("Class", " dog", 3, False, ("cat", "dog", "fish")) == 1
    assert read_class("Class", "2", 3, False, ("cat", "dog", "fish")) == 2
    with pytest.raises(UserError, match="Class=cow: there is no such class; choose"):
        read_class("Class", "cow", 3, False, ("cat", "dog", "fish"))


@pytest.mark.parametrize(
    ("text", "num_classes", "message"),
    [
        ("3", 3, "Class=3 must be from 0 to 2"),
        ("", 3, "Class is nothing and must be a whole number from 0 to 2; change it"),
        ("cat", 3, "Class is 'cat' and must be a whole number from 0 to 2"),
        ("0", 0, "Class=0: this generator has no classes"),
        ("cat", 0, "Class is 'cat' and must be empty: this generator has no classes"),
    ],
)
def test_other_classes_are_mistakes_in_one_line(text, num_classes, message):
    with pytest.raises(UserError) as error:
        read_class("Class", text, num_classes, optional=False)
    assert str(error.value).startswith(message)
