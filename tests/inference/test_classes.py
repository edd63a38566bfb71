"""Which class is meant by a number or a name."""

import unicodedata

import pytest

from progan_jax.errors import UserError
from progan_jax.inference.classes import find_class, list_classes, name_class

PETS = ("cat", "dog", "Zebra Füße")
FOLDERS = ("1", "2", "3")  # The classes 0, 1 and 2.


@pytest.mark.parametrize(
    ("wanted", "names", "number"),
    [
        *[(2, (), 2), ("2", (), 2), ("#2", (), 2), ("2", PETS, 2), (1, PETS, 1)],
        *[("dog", PETS, 1), (" dog ", PETS, 1), ("Zebra  Füße", PETS, 2)],
        (unicodedata.normalize("NFD", "Zebra Füße"), PETS, 2),
        # No class has the number 3; a number in Python is never a name.
        *[("3", FOLDERS, 2), ("#1", FOLDERS, 1), (1, FOLDERS, 1), ("0", FOLDERS, 0)],
        # Of some sets the names are the numbers.
        *[("1", ("0", "1", "2"), 1), ("001", ("000", "001", "002"), 1)],
    ],
)
def test_a_class_is_found_by_number_or_by_name(wanted, names, number):
    assert find_class("--class", wanted, 3, names) == number


@pytest.mark.parametrize(
    ("wanted", "names", "message"),
    [
        ("cow", PETS, "cow: there is no such class; choose from 0 cat, 1 dog, 2 Zebra"),
        ("3", PETS, "3: there is no such class; choose from 0 cat"),
        (-1, PETS, "-1: there is no such class; choose from 0 cat"),
        ("", PETS, ": there is no such class; choose from 0 cat"),
        ("cow\n!", PETS, "cow !: there is no such class"),
        ("cow", (), "cow must be from 0 to 2 for this generator; change it"),
        ("3", (), "3 must be from 0 to 2 for this generator; change it"),
        ("1", FOLDERS, "1 is the name of class 0 and the number of class '2'; write #"),
    ],
)
def test_no_class_or_two_of_them_are_a_mistake_in_one_line(wanted, names, message):
    with pytest.raises(UserError) as caught:
        find_class("--class", wanted, 3, names)
    assert str(caught.value).startswith(f"--class={message}")
    assert "\n" not in str(caught.value)


def test_classes_are_listed_with_their_numbers_and_not_by_the_thousand():
    assert name_class(1, PETS) == "1 (dog)"
    assert name_class(1, ()) == "1"
    assert list_classes(PETS) == "0 cat, 1 dog, 2 Zebra Füße"
    many = [f"{n:03d}" for n in range(1000)]
    assert list_classes(many).endswith(", 29 029 and 970 more")
